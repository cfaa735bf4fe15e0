package rabbitbroker

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

const tapPrefetch = 200

// Tail implements broker.Admin. New messages come through a queue of the
// tail's own at the topic's exchange. Old ones are taken from a queue that
// nobody reads, and go back in order: see peek.
func (b *Broker) Tail(ctx context.Context, topic pipeline.Topic, opts broker.TailOptions, f func(*message.Message) error) error {
	l := layoutOf(topic)
	var t *tap
	if !opts.Oldest || opts.Follow {
		var err error
		if t, err = b.openTap(ctx, l); err != nil {
			return fmt.Errorf("tail topic %s: %w", topic.Name, err)
		}
		defer t.close()
	}
	if opts.Ready != nil {
		opts.Ready()
	}
	seen := make(map[string]bool)
	if opts.Oldest {
		remember := t != nil
		err := b.peek(ctx, l, func(msg *message.Message) error {
			if remember {
				seen[msg.UUID] = true
			}
			return f(msg)
		})
		if err != nil {
			return err
		}
	}
	if t == nil {
		return nil
	}
	return t.follow(ctx, seen, f)
}

// tap is a queue that gets a copy of what is published to an exchange.
type tap struct {
	link       *link
	ch         *amqp.Channel
	deliveries <-chan amqp.Delivery
}

func (b *Broker) openTap(ctx context.Context, l layout) (*tap, error) {
	switch {
	case l.isDefault():
		return nil, fmt.Errorf("producers write straight to queue %s, so there is nothing to tap: "+
			"show the oldest while nobody reads it, or name an exchange", l.queue)
	case l.kind == typeHash:
		return nil, fmt.Errorf("exchange %s shares messages out, and a tap would take its share: tap the exchange before it", l.exchange)
	}
	conn, err := b.consume.connection(ctx)
	if err != nil {
		return nil, err
	}
	t := &tap{link: b.consume}
	err = t.link.await(ctx, func() (err error) {
		if t.ch, err = conn.Channel(); err != nil {
			return err
		}
		if err = t.open(l); err != nil {
			_ = t.ch.Close()
		}
		return err
	}, t.close)
	if err != nil {
		return nil, classed(err)
	}
	return t, nil
}

// open makes the queue, which goes with the connection or its last consumer.
func (t *tap) open(l layout) error {
	q, err := t.ch.QueueDeclare("", false, true, true, false, nil)
	if err != nil {
		return fmt.Errorf("declare a queue: %w", err)
	}
	if err := t.ch.QueueBind(q.Name, l.bindingKey(), l.exchange, false, nil); err != nil {
		return fmt.Errorf("bind to exchange %s: %w", l.exchange, err)
	}
	if err := t.ch.Qos(tapPrefetch, 0, false); err != nil {
		return fmt.Errorf("set prefetch: %w", err)
	}
	t.deliveries, err = t.ch.Consume(q.Name, "", false, true, false, false, nil)
	return err
}

func (t *tap) close() { closeSoon(t.link, t.ch) }

// follow shows what comes, but not what was shown already.
func (t *tap) follow(ctx context.Context, seen map[string]bool, f func(*message.Message) error) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d, ok := <-t.deliveries:
			if !ok {
				return errLost // and with it what came since: the caller may begin anew
			}
			msg := decode(&d)
			_ = d.Ack(false) // its error shows as the end of the deliveries
			if seen[msg.UUID] {
				delete(seen, msg.UUID)
				continue
			}
			if err := f(msg); err != nil {
				return err
			}
		}
	}
}

// closeSoon closes a channel, and does not wait long for the answer.
func closeSoon(l *link, ch *amqp.Channel) {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = l.await(ctx, ch.Close, nil)
}
