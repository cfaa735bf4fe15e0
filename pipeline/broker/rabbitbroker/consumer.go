package rabbitbroker

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

const (
	// maxSpan bounds what is remembered of a claim whose first message does
	// not come to an end: 16 bytes each.
	maxSpan = 1 << 20
	// farewell bounds barrier and close, each a few round trips.
	farewell = 3 * time.Second
)

// consumer is one channel that reads a queue, from open to close, and the
// claim that goes with it.
type consumer struct {
	*reader
	ch     *amqp.Channel
	tag    string
	inbox  *inbox
	over   <-chan amqp.Delivery // closed when the broker has ended it; what it is sent is in the inbox
	closed chan *amqp.Error
	claim  *broker.Claim
}

// newConsumer opens a channel and begins to read. It waits for the broker's
// answers.
func newConsumer(r *reader, conn *connection) (*consumer, error) {
	ch, number, err := conn.channel()
	if err != nil {
		return nil, err
	}
	tag := r.sub.Handler + "@" + r.sub.Instance
	c := &consumer{
		reader: r, ch: ch, tag: tag, inbox: newInbox(tag),
		closed: ch.NotifyClose(make(chan *amqp.Error, 1)),
	}
	conn.frames.register(number, c.inbox)
	// A quorum queue without a leader does not answer at all.
	silent := time.AfterFunc(openPatience, func() {
		if r.intake.Err() != nil { // nobody waits for it any more
			return
		}
		r.report(fmt.Errorf("queue %s does not answer: it may have no leader, see rabbitmqctl list_queues name state", r.queue))
	})
	defer silent.Stop()
	if err := c.begin(); err != nil {
		_ = ch.Close()
		return nil, err
	}
	return c, nil
}

func (c *consumer) begin() error {
	if err := c.ch.Qos(c.prefetch(), 0, false); err != nil {
		return fmt.Errorf("set prefetch: %w", err)
	}
	var err error
	if c.over, err = c.ch.Consume(c.queue, c.tag, false, false, false, false, nil); err != nil {
		return fmt.Errorf("consume queue %s: %w", c.queue, err)
	}
	return nil
}

// consume delivers and acknowledges. It returns nil once the window drains and
// everything has ended in order, else why the channel ended; then the claim is
// still open.
func (c *consumer) consume(ctx context.Context) error {
	taking, lost := context.WithCancelCause(c.intake)
	defer lost(nil)
	var tasks sync.WaitGroup
	defer tasks.Wait()
	tasks.Go(func() {
		select {
		case err := <-c.closed:
			lost(channelLost(err))
		case <-taking.Done():
		}
	})
	a := newAcker(c.ch, c.claim, c.prefetch(), c.sub.Concurrency)
	tasks.Go(a.run)
	defer a.stop()

	c.take(taking)
	if !c.draining() { // the broker ended it
		a.stop() // what is done goes out if the channel is still there
		c.hangUp(false)
		if cause := context.Cause(taking); cause != nil {
			return cause
		}
		return errGone
	}
	_ = c.claim.Close(ctx) // its error: the time was up, what runs goes back
	a.stop()
	c.hangUp(a.acked)
	return nil
}

// take hands what arrives to the claim until ctx is done, or all that arrived
// before the broker ended it.
func (c *consumer) take(ctx context.Context) {
	var batch []arrival
	for over := false; ; {
		batch = c.inbox.take(batch)
		for i := range batch {
			d := c.delivery(&batch[i])
			batch[i] = arrival{} // the claim's from here on
			if ctx.Err() != nil || c.claim.Deliver(ctx, d) != nil {
				return
			}
		}
		switch {
		case len(batch) > 0:
			continue
		case over:
			return
		}
		select {
		case <-c.inbox.wake:
		case <-c.over:
			over = true
		case <-ctx.Done():
			return
		}
	}
}

func (c *consumer) delivery(a *arrival) broker.Delivery {
	return broker.Delivery{
		Message:  a.msg,
		Key:      c.key(a.msg),
		Position: int64(a.tag), //nolint:gosec // counts from 1
		Origin: pipeline.Origin{
			Topic: c.sub.Topic.Name, Group: c.sub.Name, Offset: -1, Redelivered: a.redelivered,
		},
	}
}

// key is what orders the message; it costs a look into the payload.
func (c *consumer) key(msg *message.Message) string {
	if c.sub.Ordering != pipeline.OrderingKey {
		return ""
	}
	return broker.Key(c.sub.Topic, msg)
}

// hangUp closes the channel. What was not acknowledged goes back to the front
// of the queue, in order.
func (c *consumer) hangUp(barrier bool) {
	if c.ch.IsClosed() {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), farewell)
	defer cancel()
	err := c.b.consume.await(ctx, func() error {
		defer func() { _ = c.ch.Close() }()
		if barrier {
			return c.barrier()
		}
		return nil
	}, nil)
	if err != nil {
		c.b.log.Warn("finished messages may be handed out again", "queue", c.queue, "error", err)
	}
}

// barrier returns when the queue has seen every acknowledgement that was sent.
//
// Acknowledgements have no answer. A quorum queue's client in the broker (a
// part of the channel) sends them on while fewer than 32 commands wait for
// the queue, keeps the others to itself, and forgets them when the channel
// closes: up to 223 of 256 finished messages came back. A new consumer is a
// command that has an answer. By the time it comes, all that was sent before
// is done, and the channel sends on what it has kept; cancelling that
// consumer is a second such command, behind those.
//
// The first consumer stays until then. So the one that is cancelled is never
// the last, which would delete an auto-delete queue; and on a queue with a
// single active consumer it only stands in line, and nobody takes over while
// our messages still run.
func (c *consumer) barrier() error {
	tag := c.tag + ".barrier"
	if err := c.ch.Qos(1, 0, false); err != nil {
		return fmt.Errorf("barrier: set prefetch: %w", err)
	}
	if _, err := c.ch.Consume(c.queue, tag, false, false, false, false, nil); err != nil {
		return fmt.Errorf("barrier: consume queue %s: %w", c.queue, err)
	}
	if err := c.ch.Cancel(tag, false); err != nil {
		return fmt.Errorf("barrier: cancel: %w", err)
	}
	return nil
}

// channelLost says why a channel ended; nil: we closed it.
func channelLost(err *amqp.Error) error {
	if err == nil {
		return errLost
	}
	return fmt.Errorf("channel closed: %w", err)
}
