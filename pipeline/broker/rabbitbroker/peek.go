package rabbitbroker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// errNoPeek is why old messages cannot be shown; what follows it says more.
var errNoPeek = errors.New("its old messages cannot be shown without disturbing it")

const (
	peekFirst  = 50 // who wants a few of the oldest does not take them all
	peekShares = 30
	peekMost   = 65_535 // the most that a consumer may hold: AMQP has 16 bits for it
	peekTries  = 10
	peekPause  = 50 * time.Millisecond
)

// peek is a look at what waits in a queue: it takes the messages and does not
// acknowledge them. They go back when the channel is closed: to the front, in
// order, marked as redelivered.
//
// A quorum queue gives them back a consumer at a time, in the order of the
// consumers' tags while there are at most 32 of them (a basic.get counts as
// one), and of each in the order in which it took them. So a peek has up to
// peekShares consumers, one after the other, each with as many messages as its
// prefetch. A basic.nack of many would not do: up to RabbitMQ 3.13 a quorum
// queue returns those in the order of a map.
type peek struct {
	b         *Broker
	ch        *amqp.Channel
	queue     string
	left      int // messages not shown yet
	consumers int
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
	p := &peek{b: b, queue: name, left: waiting}
	if err := b.consume.await(ctx, func() (err error) {
		p.ch, err = conn.Channel()
		return err
	}, func() { _ = p.ch.Close() }); err != nil {
		return classed(err)
	}
	defer closeSoon(b.consume, p.ch)
	for p.left > 0 {
		if p.consumers == peekShares {
			return fmt.Errorf("tail topic %s: %d more wait in queue %s, and RabbitMQ shows no more without losing their order",
				l.topic.Name, p.left, name)
		}
		if err := p.share(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// share shows what the next consumer gets.
func (p *peek) share(ctx context.Context, f func(*message.Message) error) error {
	n := p.size()
	deliveries, err := p.take(ctx, n)
	if err != nil {
		return classed(fmt.Errorf("look into queue %s: %w", p.queue, err))
	}
	for range n {
		d, err := p.next(ctx, deliveries)
		if err != nil || d == nil {
			return err
		}
		p.left--
		if err := f(decode(d)); err != nil {
			return err
		}
	}
	return nil
}

// size is how many messages the next consumer is to take.
func (p *peek) size() int {
	even := peekFirst
	if p.consumers > 0 {
		shares := peekShares - p.consumers
		even = max(peekFirst, (p.left+shares-1)/shares)
	}
	return min(even, p.left, peekMost)
}

// take begins a consumer that gets n messages.
func (p *peek) take(ctx context.Context, n int) (<-chan amqp.Delivery, error) {
	p.consumers++
	tag := fmt.Sprintf("waybill-tail-%02d", p.consumers)
	begun := make(chan (<-chan amqp.Delivery), 1)
	err := p.b.consume.await(ctx, func() error {
		if err := p.ch.Qos(n, 0, false); err != nil {
			return err
		}
		deliveries, err := p.ch.Consume(p.queue, tag, false, false, false, false, nil)
		begun <- deliveries
		return err
	}, nil)
	if err != nil {
		return nil, err
	}
	return <-begun, nil
}

// next waits for a message. nil: there is none, and nothing is left.
func (p *peek) next(ctx context.Context, deliveries <-chan amqp.Delivery) (*amqp.Delivery, error) {
	quiet := time.NewTicker(statTimeout)
	defer quiet.Stop()
	for {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return nil, fmt.Errorf("look into queue %s: %w", p.queue, errLost)
			}
			return &d, nil
		case <-quiet.C:
			// Some of those that were counted may have expired.
			q, err := p.b.declared(ctx, p.queue)
			if err == nil && q.Messages == 0 {
				err = p.b.askLeader(ctx, p.queue, &q)
			}
			if err != nil {
				return nil, err
			}
			if q.Messages == 0 {
				p.left = 0
				return nil, nil
			}
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// idleQueue finds a queue of the topic that may be looked into, and how many
// messages wait there. The error says why there is none.
func (b *Broker) idleQueue(ctx context.Context, l layout) (string, int, error) {
	why := []error{errNoPeek}
	for _, sub := range b.readers.of(l.topic.Name) {
		if isOrdered(sub) {
			why = append(why, fmt.Errorf("%s is read in order, and its reader would have to wait for the look to end", sub.Name))
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
