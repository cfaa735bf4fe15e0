package rabbitbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
)

// errNoPeek is why old messages cannot be shown; what follows it says more.
var errNoPeek = errors.New("its old messages cannot be shown without disturbing it")

const (
	peekShares   = 30       // consumers of a look
	peekFirst    = 50       // messages that the first takes; each next one twice as many, up to the following
	peekMost     = 65_535   // what a consumer may hold: AMQP has 16 bits for it
	peekBytes    = 32 << 20 // of a share, by the mean size of what was shown: amqp091-go takes off the wire all that comes
	peekTries    = 10
	peekPause    = 50 * time.Millisecond
	peekPatience = 10 * time.Second // how long nothing may come of a queue that has messages
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
	topic     string
	queue     string
	left      int // messages not shown yet
	shown     int
	bytes     int // of those
	consumers int
	share     int // messages of the latest of them
	quiet     *time.Ticker

	calls  sync.Mutex // held during calls of the channel, so that none comes behind its close
	ch     *amqp.Channel
	closed chan *amqp.Error
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
	p := &peek{b: b, topic: l.topic.Name, queue: name, left: waiting, quiet: time.NewTicker(statTimeout)}
	defer p.quiet.Stop()
	err = b.consume.await(ctx, func() (err error) {
		p.ch, err = conn.Channel()
		return err
	}, func() { _ = p.ch.Close() })
	if err != nil {
		return classed(err)
	}
	p.closed = p.ch.NotifyClose(make(chan *amqp.Error, 1))
	defer p.close()
	for p.left > 0 {
		if p.consumers == peekShares {
			return p.failed(fmt.Errorf("%d more wait: RabbitMQ shows no more without losing their order", p.left))
		}
		if err := p.show(ctx, f); err != nil {
			return err
		}
	}
	return nil
}

// show shows what the next consumer gets.
func (p *peek) show(ctx context.Context, f func(*message.Message) error) error {
	p.share = p.size()
	deliveries, err := p.take(ctx)
	if err != nil {
		return p.failed(classed(err))
	}
	for range p.share {
		d, err := p.next(ctx, deliveries)
		if err != nil {
			return err
		}
		if d == nil {
			p.left = 0
			return nil
		}
		p.left--
		p.shown++
		p.bytes += len(d.Body)
		if err := f(decode(d)); err != nil {
			return err
		}
	}
	return nil
}

// size is how many messages the next consumer is to take.
func (p *peek) size() int {
	if p.consumers == 0 {
		return min(peekFirst, p.left)
	}
	mean := max(1, p.bytes/max(1, p.shown))
	return min(2*p.share, max(1, peekBytes/mean), peekMost, p.left)
}

// take begins a consumer that gets so many messages as the share has.
func (p *peek) take(ctx context.Context) (<-chan amqp.Delivery, error) {
	p.consumers++
	n, tag := p.share, fmt.Sprintf("waybill-tail-%02d", p.consumers)
	begun := make(chan (<-chan amqp.Delivery), 1)
	err := p.b.consume.await(ctx, func() error {
		p.calls.Lock()
		defer p.calls.Unlock()
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
	since := time.Now()
	p.quiet.Reset(statTimeout)
	for gone := 0; gone < 2; {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return nil, p.failed(p.ended())
			}
			return &d, nil
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-p.quiet.C:
		}
		// Some of those that were counted may have expired; or they are on their way
		// to us, so it is not believed at once that none is left.
		ready, err := p.ready(ctx)
		switch {
		case err != nil:
			return nil, p.failed(err)
		case ready == 0:
			gone++
		case time.Since(since) > peekPatience:
			return nil, p.failed(fmt.Errorf("nothing came of its %d messages for %s: "+
				"it may give them to one consumer only (x-single-active-consumer)", ready, peekPatience))
		default:
			gone = 0
		}
		p.quiet.Reset(statTimeout)
	}
	return nil, nil
}

func (p *peek) failed(err error) error {
	return fmt.Errorf("tail topic %s: look into queue %s: %w", p.topic, p.queue, err)
}

// ready is how many messages of the queue nobody has yet.
func (p *peek) ready(ctx context.Context) (int, error) {
	q, err := p.b.declared(ctx, p.queue)
	if err == nil && q.Messages == 0 {
		err = p.b.askLeader(ctx, p.queue, &q)
	}
	return q.Messages, err
}

// ended says why no more messages come.
func (p *peek) ended() error {
	if !p.ch.IsClosed() {
		return errors.New("the queue has gone")
	}
	return channelLost(<-p.closed)
}

// close gives the messages back. It does not wait long for the answer.
func (p *peek) close() {
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	_ = p.b.consume.await(ctx, func() error {
		p.calls.Lock()
		defer p.calls.Unlock()
		return p.ch.Close()
	}, nil)
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

// idle fails if somebody reads the queue, as another peek does too, for a moment
// after its channel was closed; or if the queue would go when a peek does.
func (b *Broker) idle(ctx context.Context, name string) (waiting int, err error) {
	if b.api != nil {
		if q, err := b.api.queue(ctx, name); err == nil && q != nil && q.AutoDelete {
			return 0, fmt.Errorf("queue %s is deleted when its last reader goes, and a look is one", name)
		}
	}
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
