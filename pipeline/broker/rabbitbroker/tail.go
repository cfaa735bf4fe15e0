package rabbitbroker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// errNoPeek is why old messages cannot be shown; what follows it says more.
var errNoPeek = errors.New("its old messages cannot be shown without disturbing it")

const (
	tapPrefetch = 200
	peekBatch   = 50
	peekTries   = 10
	peekPause   = 50 * time.Millisecond
)

// Tail implements broker.Admin. New messages come through a queue of the
// tail's own at the topic's exchange. Old ones are taken from a queue that
// nobody reads, without acknowledging them, and go back when the channel is
// closed: to the front, in order, marked as redelivered.
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

// peek shows what waits in a queue of the topic that nobody reads.
func (b *Broker) peek(ctx context.Context, l layout, f func(*message.Message) error) error {
	name, waiting, err := b.idleQueue(ctx, l)
	if err != nil {
		return fmt.Errorf("tail topic %s: %w", l.topic.Name, err)
	}
	conn, err := b.consume.connection(ctx)
	if err != nil {
		return err
	}
	var ch *amqp.Channel
	if err := b.consume.await(ctx, func() (err error) {
		ch, err = conn.Channel()
		return err
	}, func() { _ = ch.Close() }); err != nil {
		return classed(err)
	}
	defer closeSoon(b.consume, ch)
	for waiting > 0 {
		batch, err := b.get(ctx, ch, name, min(waiting, peekBatch))
		if err != nil {
			return fmt.Errorf("tail topic %s: %w", l.topic.Name, err)
		}
		for i := range batch {
			if err := f(decode(&batch[i])); err != nil {
				return err
			}
		}
		if len(batch) == 0 {
			return nil
		}
		waiting -= len(batch)
	}
	return nil
}

// get takes up to n messages and does not acknowledge them.
func (b *Broker) get(ctx context.Context, ch *amqp.Channel, name string, n int) ([]amqp.Delivery, error) {
	taken := make([]amqp.Delivery, 0, n)
	err := b.consume.await(ctx, func() error {
		for range n {
			d, ok, err := ch.Get(name, false)
			if err != nil {
				return err
			}
			if !ok {
				break
			}
			taken = append(taken, d)
		}
		return nil
	}, nil)
	if err != nil {
		return nil, classed(fmt.Errorf("get from queue %s: %w", name, err))
	}
	return taken, nil
}

// idleQueue finds a queue of the topic that may be looked into, and how many
// messages wait there. The error says why there is none.
func (b *Broker) idleQueue(ctx context.Context, l layout) (string, int, error) {
	why := []error{errNoPeek}
	for _, sub := range b.readers.of(l.topic.Name) {
		if isOrdered(sub) {
			why = append(why, fmt.Errorf("%s is read in order, which giving back would break", sub.Name))
			continue
		}
		name := l.queues(sub)[0]
		waiting, err := b.idle(ctx, name)
		if err == nil {
			return name, waiting, nil
		}
		why = append(why, err)
	}
	if name := l.ownQueue(); len(why) == 1 && name != "" {
		waiting, err := b.idle(ctx, name)
		if err == nil {
			return name, waiting, nil
		}
		why = append(why, err)
	}
	if l.topic.DeadLetter {
		why = append(why, errors.New("its letters are archived as they come: waybill dlq ls lists them"))
	}
	return "", 0, joined(why)
}

// idle fails if somebody reads the queue. On a quorum queue a peek counts as a
// consumer, and goes on doing so for a moment after its channel was closed.
func (b *Broker) idle(ctx context.Context, name string) (waiting int, err error) {
	for try := 1; ; try++ {
		counts, err := b.count(ctx, name)
		switch {
		case err != nil:
			return 0, err
		case counts.Consumers == 0:
			return counts.Messages, nil
		case try == peekTries || !rest(ctx, peekPause):
			return 0, fmt.Errorf("queue %s is being read: stop or pause its readers, or show new messages", name)
		}
	}
}

// closeSoon closes a channel, and does not wait long for the answer.
func closeSoon(l *link, ch *amqp.Channel) {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = l.await(ctx, ch.Close, nil)
}
