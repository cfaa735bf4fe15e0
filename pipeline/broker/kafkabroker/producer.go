package kafkabroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// flushTime is how long a stream that closes may take to send what it holds.
const flushTime = 5 * time.Second

var (
	errNotYet = errors.New("there is no connection yet")
	errAnew   = errors.New("the producer is being opened anew")
	errFull   = errors.New("the broker takes no more for now")
)

// ticket receives the result of one record. It holds one, so that nobody need
// be there to take it.
type ticket chan error

var tickets = sync.Pool{New: func() any { return make(ticket, 1) }}

// Confirmed implements pipeline.Confirmer.
func (t ticket) Confirmed(_ int, err error) { t <- err }

func newTicket() ticket { return tickets.Get().(ticket) }

// done gives a ticket back whose result was taken. One that nobody waits for
// any more may still get its result, and is left alone.
func (t ticket) done() { tickets.Put(t) }

// producer keeps a stream: opened when first needed, opened anew when one
// can't go on, closed when ctx is done.
type producer struct {
	b    *Broker
	ctx  context.Context //nolint:containedctx // the life of its goroutine
	work sync.WaitGroup

	current atomic.Pointer[stream] // nil: none is open; changed under mu

	mu      sync.Mutex
	started bool
	changed chan struct{} // closed when current changes
	err     error         // why none is open
}

func newProducer(ctx context.Context, b *Broker) *producer {
	return &producer{b: b, ctx: ctx, changed: make(chan struct{}), err: errNotYet}
}

// putter puts a record into a stream; see stream.put. An error is final.
type putter func(*stream) (taken bool, room <-chan struct{}, err error)

// send has put put a record into the stream that is open, waiting until there is one
// and it takes it, or one of the contexts is done. It may have to try more than once.
func (p *producer) send(own, limit context.Context, put putter) error {
	for {
		if err := cmp.Or(own.Err(), limit.Err()); err != nil {
			return fmt.Errorf("not sent: %w", err)
		}
		s, changed, why := p.get()
		var room <-chan struct{}
		if s != nil {
			var taken bool
			var err error
			if taken, room, err = put(s); taken || err != nil {
				return err
			}
		}
		if room != nil {
			why = errFull
		}
		select {
		case <-changed:
		case <-room:
		case <-p.ctx.Done():
			return errClosed
		case <-own.Done():
			return fmt.Errorf("not sent: %w (%w)", why, own.Err())
		case <-limit.Done():
			return fmt.Errorf("not sent: %w (%w)", why, limit.Err())
		}
	}
}

// now returns the stream that is open, or nil, and then has one opened. It costs
// less than get, which all who publish would wait for in turn.
func (p *producer) now() *stream {
	s := p.current.Load()
	if s == nil {
		_, _, _ = p.get()
	}
	return s
}

// get returns the stream that is open, or why none is, and a channel that is
// closed when that changes. The first call has the producer opened.
func (p *producer) get() (s *stream, changed <-chan struct{}, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.started && p.ctx.Err() == nil {
		p.started = true
		p.work.Go(p.keep)
	}
	return p.current.Load(), p.changed, p.err
}

// stop ends the producer once what it holds is sent, or after flushTime. end
// ends its context.
func (p *producer) stop(end context.CancelFunc) {
	p.mu.Lock()
	end() // nobody has it opened after that
	p.mu.Unlock()
	p.work.Wait()
}

func (p *producer) put(s *stream, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err = why; p.current.Swap(s) == s {
		return
	}
	close(p.changed)
	p.changed = make(chan struct{})
}

// keep has a stream open until the context is done.
func (p *producer) keep() {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, time.Second
	for p.ctx.Err() == nil {
		s, err := p.open()
		if err != nil {
			p.put(nil, err)
			sleep(p.ctx, pause.NextBackOff())
			continue
		}
		opened := time.Now()
		p.put(s, nil)
		select {
		case <-s.broken:
		case <-p.ctx.Done():
		}
		p.put(nil, errAnew)
		p.work.Go(s.close)
		if time.Since(opened) > pause.MaxInterval {
			pause.Reset()
		}
		sleep(p.ctx, pause.NextBackOff())
	}
}

// open opens a stream, which ends with ctx until it is there.
func (p *producer) open() (*stream, error) {
	l, err := p.b.newLink(context.WithoutCancel(p.ctx), forProducer)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(p.ctx, l.cut)
	s, err := openStream(l)
	if !stop() && err == nil {
		err = errClosed
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return s, nil
}
