package rabbitbroker

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// defaultMaxMessage is RabbitMQ 4's default limit of a message's body. Older
// ones take more; a topic's max_message says otherwise.
const defaultMaxMessage = 16 << 20

// publisher sends messages. Callers write into memory (see bufferedConn), and wait
// each for their own confirm or have it told, so that many are in flight and
// nobody waits for anybody else.
type publisher struct {
	b         *Broker
	link      *link
	exchanges *exchanges
	once      sync.Once

	mu      sync.Mutex
	current *confirmer    // nil while there is none
	err     error         // why not
	changed chan struct{} // closed, and made anew, when either changes
}

var _ message.Publisher = (*publisher)(nil)

func newPublisher(b *Broker, l *link) *publisher {
	return &publisher{b: b, link: l, exchanges: newExchanges(b), changed: make(chan struct{})}
}

// Close does nothing: Broker.Close closes the publisher.
func (p *publisher) Close() error { return nil }

// Publish implements broker.Broker.Publisher.
func (p *publisher) Publish(topic string, msgs ...*message.Message) error {
	p.once.Do(func() { p.link.spawn(p.run) })
	jobs := make([]job, len(msgs))
	for i, msg := range msgs {
		j := &jobs[i]
		j.ctx = msg.Context()
		if out, err := p.prepare(topic, msg); err != nil {
			j.fail(err)
		} else {
			j.out = out
		}
	}
	var pauses *backoff.ExponentialBackOff
	for p.round(jobs) {
		if pauses == nil {
			pauses = newBackoff()
		}
		p.pause(jobs, pauses)
	}
	return outcome(jobs)
}

func outcome(jobs []job) error {
	failed := func(j job) bool { return j.err != nil }
	if !slices.ContainsFunc(jobs, failed) {
		return nil
	}
	errs := make([]error, len(jobs))
	for i := range jobs {
		errs[i] = jobs[i].err
	}
	return broker.PublishFailed(errs)
}

// prepare encodes a message. What is wrong with it is found here, before it
// can break the channel that all share.
func (p *publisher) prepare(topic string, msg *message.Message) (*outgoing, error) {
	t, ok := p.b.opts.Topic(topic)
	if !ok {
		return nil, pipeline.Permanent(pipeline.WithReason(
			fmt.Errorf("topic %q is not in the config: add it under topics", topic), pipeline.ReasonUnroutable))
	}
	out, err := encode(layoutOf(t), msg)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", topic, err)
	}
	limit := t.MaxMessage
	if limit == 0 {
		limit = defaultMaxMessage
	}
	if size := out.size(); size > limit {
		return nil, tooLarge(topic, size, limit)
	}
	return out, nil
}

func tooLarge(topic string, size, limit int) error {
	return pipeline.Permanent(pipeline.WithReason(fmt.Errorf(
		"topic %s: message has %d bytes, at most %d are allowed: make it smaller, or raise max_message and RabbitMQ's own limit",
		topic, size, limit), pipeline.ReasonTooLarge))
}

// round sends every open job once and waits for the outcomes. It reports
// whether some are still open, because their channel was lost or the broker
// refused them for now.
func (p *publisher) round(jobs []job) (again bool) {
	oldest := 0 // the first that may be in flight
	for i := range jobs {
		j := &jobs[i]
		if j.done {
			continue
		}
		c := p.ready(j)
		if c == nil {
			continue
		}
		for !c.room.TryAcquire(j.out.charge()) {
			if oldest < i { // our own may be what takes the room
				jobs[oldest].await()
				oldest++
			} else if !j.waitForRoom(c) {
				break
			}
		}
		if !j.done {
			j.send(c)
		}
	}
	for ; oldest < len(jobs); oldest++ {
		jobs[oldest].await()
	}
	for i := range jobs {
		again = again || !jobs[i].done
	}
	return again
}

// ready returns the confirmer to send j with, or nil if j has failed.
func (p *publisher) ready(j *job) *confirmer {
	c, err := p.confirmer(j.ctx)
	if err == nil && j.ctx.Err() != nil {
		err = pipeline.WithReason(fmt.Errorf("not sent: %w", context.Cause(j.ctx)), pipeline.ReasonTimeout)
	}
	if err == nil {
		err = p.exchanges.check(j.ctx, j.out.exchange)
	}
	if err == nil {
		err = c.fits(j.out)
	}
	if err != nil {
		j.fail(err)
		return nil
	}
	return c
}

// pause waits before jobs that the broker refused are sent again. Those whose
// channel was lost need no pause: the next channel is waited for.
func (p *publisher) pause(jobs []job, pauses *backoff.ExponentialBackOff) {
	for i := range jobs {
		if j := &jobs[i]; !j.done && errors.Is(j.why, errRefused) {
			rest(j.ctx, pauses.NextBackOff())
			return
		}
	}
}

// confirmer waits for the channel to publish with.
func (p *publisher) confirmer(ctx context.Context) (*confirmer, error) {
	for {
		p.mu.Lock()
		c, changed, err := p.current, p.changed, p.err
		p.mu.Unlock()
		if c != nil && !c.ch.IsClosed() {
			return c, nil
		}
		select {
		case <-changed:
		case <-p.link.life.Done():
			return nil, errClosed
		case <-ctx.Done():
			if state := p.b.Health().Err; state != nil {
				err = state
			}
			if err == nil {
				err = errLost
			}
			return nil, pipeline.WithReason(fmt.Errorf("%w: %w", context.Cause(ctx), err), pipeline.ReasonUnavailable)
		}
	}
}

// run keeps a confirmer for as long as the broker is open.
func (p *publisher) run() {
	pauses := newBackoff()
	for {
		c, err := p.open()
		p.set(c, err)
		if errors.Is(err, errClosed) {
			return
		}
		if err == nil {
			opened := time.Now()
			err = c.watch()
			p.set(nil, err)
			p.exchanges.lost(err)
			if p.link.life.Err() == nil {
				p.b.log.Warn("publishing channel lost; what was in flight is sent again", "error", err)
			}
			if time.Since(opened) > steady {
				pauses.Reset()
			}
		}
		rest(p.link.life, pauses.NextBackOff())
	}
}

func (p *publisher) open() (*confirmer, error) {
	conn, err := p.link.connection(p.link.life)
	if p.link.life.Err() != nil {
		return nil, errClosed
	}
	if err != nil {
		return nil, err
	}
	return newConfirmer(p, conn)
}

func (p *publisher) set(c *confirmer, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.current, p.err = c, err
	close(p.changed)
	p.changed = make(chan struct{})
}

// Start implements broker.Broker.
func (b *Broker) Start(topic string, msg *message.Message, to pipeline.Confirmer, number int) bool {
	out, err := b.publisher.prepare(topic, msg)
	return err == nil && b.publisher.start(&flight{out: out, to: to, no: number})
}

// start sends a message if that can be done at once.
func (p *publisher) start(f *flight) bool {
	p.mu.Lock()
	c := p.current
	p.mu.Unlock()
	return c != nil && p.exchanges.isKnown(f.out.exchange) && c.fits(f.out) == nil &&
		c.room.TryAcquire(f.out.charge()) && c.send(f)
}
