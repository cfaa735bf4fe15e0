package peer

import (
	"context"
	"errors"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// ackEvery is how many messages one acknowledgement covers while confirms
// keep coming.
const ackEvery = 64

// rawRabbit reads and publishes over a connection each. One goroutine prepares
// and publishes in the order of the queue; a second takes the confirms, which
// amqp091-go hands out in order, and acknowledges with `multiple`.
func rawRabbit(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) error {
	in, err := openChannel(spec.URL)
	if err != nil {
		return err
	}
	defer in.close()
	out, err := openChannel(spec.URL)
	if err != nil {
		return err
	}
	defer out.close()

	if err := in.Qos(spec.InFlight, 0, false); err != nil {
		return fmt.Errorf("set prefetch: %w", err)
	}
	if err := out.Confirm(false); err != nil {
		return fmt.Errorf("ask for confirms: %w", err)
	}
	confirms := out.NotifyPublish(make(chan amqp.Confirmation, spec.InFlight))
	deliveries, err := in.Consume(spec.In, "", false, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("consume %s: %w", spec.In, err)
	}

	pending := make(chan uint64, spec.InFlight) // delivery tags, in the order of publishing
	var work errgroup.Group
	work.Go(func() error {
		defer close(pending)
		return publishEach(ctx, spec, prepare, out.Channel, deliveries, pending)
	})
	work.Go(func() error { return ackConfirmed(in.Channel, confirms, pending) })
	return work.Wait()
}

func publishEach(ctx context.Context, spec job.Spec, prepare job.PrepareFunc, out *amqp.Channel, deliveries <-chan amqp.Delivery, pending chan<- uint64) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, ok := <-deliveries:
			if !ok {
				return errors.New("the consumer was cancelled")
			}
			payload, err := prepare(d.Body)
			if err != nil {
				return fmt.Errorf("prepare: %w", err)
			}
			pending <- d.DeliveryTag
			p := amqp.Publishing{DeliveryMode: amqp.Persistent, Headers: d.Headers, Body: payload}
			if spec.Envelope {
				enclose(&p)
			}
			err = out.PublishWithContext(context.Background(), "", spec.Out, spec.Envelope, false, p)
			if err != nil {
				return fmt.Errorf("publish: %w", err)
			}
		}
	}
}

// enclose replaces the order's only header, its id, by the envelope. It goes with
// `mandatory`.
func enclose(p *amqp.Publishing) {
	in, _ := p.Headers[job.IDHeader].(string)
	p.Headers = make(amqp.Table, 4)
	for _, h := range envelope(in) {
		p.Headers[h.name] = h.value
	}
	p.MessageId, _ = p.Headers[job.IDHeader].(string)
}

// ackConfirmed acknowledges what is confirmed, when there are ackEvery or no
// more confirms wait.
func ackConfirmed(in *amqp.Channel, confirms <-chan amqp.Confirmation, pending <-chan uint64) error {
	waiting := 0
	for tag := range pending {
		c, ok := <-confirms
		if !ok {
			return errors.New("the publishing channel was closed")
		}
		if !c.Ack {
			return errors.New("the broker refused a message")
		}
		waiting++
		if waiting < ackEvery && len(confirms) > 0 {
			continue
		}
		if err := in.Ack(tag, true); err != nil {
			return fmt.Errorf("acknowledge: %w", err)
		}
		waiting = 0
	}
	return nil
}

// channel is a connection with its one channel.
type channel struct {
	*amqp.Channel
	conn *amqp.Connection
}

func openChannel(url string) (channel, error) {
	conn, err := amqp.Dial(url)
	if err != nil {
		return channel{}, fmt.Errorf("connect: %w", err)
	}
	ch, err := conn.Channel()
	if err != nil {
		_ = conn.Close()
		return channel{}, fmt.Errorf("open channel: %w", err)
	}
	return channel{ch, conn}, nil
}

// close closes the channel first: the broker's answer says that it has the
// acknowledgements before it.
func (c channel) close() {
	_ = c.Close()
	_ = c.conn.Close()
}
