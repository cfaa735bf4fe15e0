package kafkabroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/cenkalti/backoff/v5"
)

// flushTime is how long a producer that closes may take to send what it holds.
const flushTime = 5 * time.Second

// ticket receives the result of one record. It holds one, so that nobody need
// be there to take it.
type ticket chan error

var tickets = sync.Pool{New: func() any { return make(ticket, 1) }}

func newTicket() ticket { return tickets.Get().(ticket) }

// done gives a ticket back whose result was taken. One that nobody waits for
// any more may still get its result, and is left alone.
func (t ticket) done() { tickets.Put(t) }

// producer keeps a sarama producer: opened when first needed, opened anew
// when one can't go on (see breaksProducer), closed when ctx is done.
type producer struct {
	b    *Broker
	ctx  context.Context //nolint:containedctx // the life of its goroutine
	set  func(*sarama.Config)
	work sync.WaitGroup

	mu      sync.Mutex
	started bool
	current *stream       // nil: none is open
	changed chan struct{} // closed when current changes
	err     error         // why none is open
}

func newProducer(ctx context.Context, b *Broker, set func(*sarama.Config)) *producer {
	return &producer{b: b, ctx: ctx, set: set, changed: make(chan struct{}), err: errors.New("not connected yet")}
}

// send hands the record to the producer, waiting until there is one with room
// or one of the contexts is done. The result comes by the record's ticket.
func (p *producer) send(own, limit context.Context, record *sarama.ProducerMessage) error {
	for {
		if err := cmp.Or(own.Err(), limit.Err()); err != nil {
			return fmt.Errorf("not sent: %w", err)
		}
		s, changed, why := p.get()
		if s != nil {
			if sent, err := s.send(own, limit, record); sent || err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-p.ctx.Done():
			return errClosed
		case <-own.Done():
			return fmt.Errorf("not sent, as there is no connection: %w (%w)", why, own.Err())
		case <-limit.Done():
			return fmt.Errorf("not sent, as there is no connection: %w (%w)", why, limit.Err())
		}
	}
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
	return p.current, p.changed, p.err
}

func (p *producer) put(s *stream, why error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err = why; p.current == s {
		return
	}
	p.current = s
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
		p.put(nil, errors.New("the producer is being opened anew"))
		p.work.Go(s.close)
		if time.Since(opened) > pause.MaxInterval {
			pause.Reset()
		}
		sleep(p.ctx, pause.NextBackOff())
	}
}

// open makes a stream: sarama asks the cluster for a producer id.
func (p *producer) open() (*stream, error) {
	l, err := p.b.newLink(context.WithoutCancel(p.ctx), p.set)
	if err != nil {
		return nil, err
	}
	stop := context.AfterFunc(p.ctx, l.cut)
	async, err := sarama.NewAsyncProducerFromClient(l.Client)
	if !stop() && err == nil {
		async.AsyncClose()
		err = errClosed
	}
	if err != nil {
		l.close()
		return nil, err
	}
	return newStream(async, l), nil
}

// stream is one sarama producer.
type stream struct {
	async   sarama.AsyncProducer
	link    *link
	readers sync.WaitGroup // of its results

	fail   sync.Once
	broken chan struct{} // closed when it can't go on

	gate   sync.RWMutex // held for reading while a record goes in
	closed bool         // none may go in any more
}

func newStream(async sarama.AsyncProducer, l *link) *stream {
	s := &stream{async: async, link: l, broken: make(chan struct{})}
	s.readers.Go(func() {
		for record := range async.Successes() {
			record.Metadata.(ticket) <- nil
		}
	})
	s.readers.Go(func() {
		for failed := range async.Errors() {
			if breaksProducer(failed.Err) {
				s.giveUp()
			}
			failed.Msg.Metadata.(ticket) <- failed.Err
		}
	})
	return s
}

func (s *stream) giveUp() { s.fail.Do(func() { close(s.broken) }) }

// send puts the record into sarama's input, which has no room while a broker
// does not answer. sent is false if the stream takes no more.
func (s *stream) send(own, limit context.Context, record *sarama.ProducerMessage) (sent bool, err error) {
	s.gate.RLock()
	defer s.gate.RUnlock()
	if s.closed {
		return false, nil
	}
	select { // without asking the contexts for Done, which costs more than all the rest
	case s.async.Input() <- record:
		return true, nil
	default:
	}
	select {
	case s.async.Input() <- record:
		return true, nil
	case <-s.broken:
		return false, nil
	case <-own.Done():
		return false, fmt.Errorf("not sent, as the broker takes no more for now: %w", own.Err())
	case <-limit.Done():
		return false, fmt.Errorf("not sent, as the broker takes no more for now: %w", limit.Err())
	}
}

// close sends what is on its way and ends. sarama closes its input then: no
// record may be going in, or the process panics.
func (s *stream) close() {
	s.giveUp()
	s.gate.Lock()
	s.closed = true
	s.gate.Unlock()
	s.async.AsyncClose()
	late := time.AfterFunc(flushTime, s.link.close)
	s.readers.Wait()
	late.Stop()
	s.link.close()
}
