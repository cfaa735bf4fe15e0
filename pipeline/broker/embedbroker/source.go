package embedbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
)

const (
	// maxSpan bounds how far a subscription gets ahead of its oldest open
	// message, and with it what the cursor remembers.
	maxSpan = 1 << 15
	// flushTimeout bounds the last acknowledgements of a subscription that is
	// closed in a hurry.
	flushTimeout = 3 * time.Second
	// troublePause is how long to wait before a file that failed is tried again.
	troublePause = time.Second
)

// source reads one subscription.
type source struct {
	b   *embedBroker
	sub broker.Subscription
}

var _ broker.Source = (*source)(nil)

// Run implements broker.Source. It waits for its turn, and reads.
func (s *source) Run(ctx context.Context, w *broker.Window) error {
	turn := s.b.log.turn(s.sub.Name)
	select {
	case <-turn:
		defer func() { turn <- struct{}{} }()
	case <-w.Draining():
		return nil
	}
	for {
		c, err := s.cursor(ctx)
		s.b.log.reading.note(err)
		if err == nil {
			return s.serve(ctx, w, c)
		}
		if !s.rest(w, err) {
			return err
		}
	}
}

// cursor returns the subscription's cursor, made if need be.
func (s *source) cursor(ctx context.Context) (*cursor, error) {
	if err := s.b.log.makeCursor(ctx, s.sub); err != nil {
		return nil, err
	}
	return s.b.log.cursor(ctx, s.sub.Name)
}

// serve reads until the window drains, and acknowledges until all that runs
// is done.
func (s *source) serve(ctx context.Context, w *broker.Window, c *cursor) error {
	claim := w.Claim(broker.ClaimOptions{MaxSpan: maxSpan})
	at := c.begin(claim)
	s.b.log.claims.Store(claim, c)
	defer s.b.log.claims.Delete(claim)
	defer c.end()

	acking, enough := context.WithCancel(context.WithoutCancel(ctx))
	var acks sync.WaitGroup
	acks.Go(func() { s.acknowledge(acking, claim, c) })
	s.read(ctx, w, claim, c, at)
	_ = claim.Close(ctx) // an error says that something still ran: that was asked for
	enough()
	acks.Wait()
	return s.flush(claim, c)
}

// read hands out what lies behind at, until the window drains.
func (s *source) read(ctx context.Context, w *broker.Window, claim *broker.Claim, c *cursor, at int64) {
	known, _ := c.topic.tip()
	for n := 0; ; {
		last, grew := c.topic.tip()
		if at >= last {
			if !c.topic.await(grew, w.Draining()) {
				return
			}
			continue
		}
		batch, err := s.b.log.read(ctx, c.topic, at)
		if err != nil {
			if !s.rest(w, err) {
				return
			}
			continue
		}
		if len(batch) == 0 {
			at = last // the rest was deleted
		}
		for _, m := range batch {
			at = m.pos
			if c.take(m.pos) {
				claim.Skip(m.pos)
				continue
			}
			// What a crashed process had in hand is not known: it is among the
			// first window of what was there at the start.
			again := c.used && n < s.sub.InFlight && m.pos <= known
			if !s.deliver(ctx, claim, m, again) {
				return
			}
			n++
		}
	}
}

// deliver gives one message to the claim. False: no more are taken.
func (s *source) deliver(ctx context.Context, claim *broker.Claim, m stored, again bool) bool {
	return claim.Deliver(ctx, broker.Delivery{
		Message:  m.msg,
		Key:      s.key(m.msg),
		Position: m.pos,
		Origin: pipeline.Origin{
			Topic: s.sub.Topic.Name, Group: s.sub.Name, Offset: m.pos & (1<<placeBits - 1),
			Redelivered: again,
		},
	}) == nil
}

func (s *source) key(msg *message.Message) string {
	if s.sub.Ordering != pipeline.OrderingKey {
		return ""
	}
	return broker.Key(s.sub.Topic, msg)
}

// acknowledge writes what is done to the cursor, as often as the disk allows.
// What it can't write stays done in the claim, and is written with the next.
func (s *source) acknowledge(ctx context.Context, claim *broker.Claim, c *cursor) {
	var p broker.Progress
	var left []int64 // told by the claim and not written
	for {
		select {
		case <-claim.Changed():
		case <-ctx.Done():
			return
		}
		p = claim.Take(p)
		left = c.open(append(append(left, p.Prefix...), p.Above...))
		for {
			err := s.finish(ctx, claim, c, left)
			if err == nil {
				left = left[:0]
				break
			}
			s.log("write acknowledgements", err)
			if !pause(ctx.Done()) {
				return
			}
		}
	}
}

// flush writes what acknowledge had not written at the end.
func (s *source) flush(claim *broker.Claim, c *cursor) error {
	ctx, cancel := context.WithTimeout(context.Background(), flushTimeout)
	defer cancel()
	p := claim.Take(broker.Progress{})
	// All that is done, not only what is new: acknowledge may have been cut
	// short between taking and writing.
	if err := s.finish(ctx, claim, c, c.open(append(c.readUpTo(p.UpTo), claim.Above(nil)...))); err != nil {
		return fmt.Errorf("write the last acknowledgements of %s: %w", s.sub.Name, err)
	}
	return nil
}

func (s *source) finish(ctx context.Context, claim *broker.Claim, c *cursor, positions []int64) error {
	if len(positions) == 0 {
		return nil
	}
	return s.b.log.write(ctx, func(tx *sqlitefile.Tx) error {
		_, err := c.finish(tx, claim, positions...)
		return err
	})
}

// rest logs an error and waits before the next try. False: the window drains.
func (s *source) rest(w *broker.Window, err error) bool {
	s.log("read messages", err)
	return pause(w.Draining())
}

func (s *source) log(what string, err error) {
	if !errors.Is(err, context.Canceled) {
		s.b.opts.Log.Error(what, "group", s.sub.Name, "error", err)
	}
}

// pause waits for troublePause, and reports whether it was let.
func pause(stop <-chan struct{}) bool {
	timer := time.NewTimer(troublePause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-stop:
		return false
	}
}
