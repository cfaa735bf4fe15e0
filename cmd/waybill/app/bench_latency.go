package app

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// warmUp is how long messages are sent before they count.
const warmUp = time.Second

// latency sends messages when they are due and watches the output.
func (b *bench) latency(ctx context.Context, messages benchMessages, rate, seconds int) (*stopwatch, error) {
	total := rate * (seconds + int(warmUp/time.Second))
	watch := newStopwatch(total, rate*int(warmUp/time.Second))
	own := b.app.brokers[b.broker.Name]
	watching, enough := context.WithCancel(ctx)
	defer enough()
	tapped := make(chan struct{})
	var work errgroup.Group
	work.Go(func() error {
		err := own.Tail(watching, b.out, broker.TailOptions{Ready: func() { close(tapped) }}, func(msg *message.Message) error {
			watch.see(pipeline.CorrelationID(msg))
			return nil
		})
		if watching.Err() != nil {
			return nil
		}
		return err
	})
	err := b.sendPaced(ctx, messages, rate, total, tapped, watch)
	enough()
	return watch, errors.Join(err, work.Wait())
}

func (b *bench) sendPaced(ctx context.Context, messages benchMessages, rate, total int, tapped <-chan struct{}, watch *stopwatch) error {
	if err := within(ctx, tapped); err != nil {
		return fmt.Errorf("watch the output: %w", err)
	}
	pub := b.app.brokers[b.broker.Name].Publisher()
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var sending errgroup.Group
	for n := range total {
		due := begin.Add(time.Duration(n) * time.Second / time.Duration(rate))
		timer.Reset(time.Until(due))
		select {
		case <-ctx.Done():
			return errors.Join(errors.New("interrupted"), sending.Wait())
		case <-timer.C:
		}
		msg := messages.message(ctx, n)
		watch.send(msg.UUID, n, due)
		sending.Go(func() error { return pub.Publish(b.in.Name, msg) })
	}
	if err := sending.Wait(); err != nil {
		return fmt.Errorf("publish: %w", err)
	}
	if err := within(ctx, watch.finished); err != nil {
		return fmt.Errorf("latency: %d of %d messages came out: %w: the handler has no output for some, or does not hold %d messages a second (--rate)",
			watch.came(), total, err, rate)
	}
	return nil
}

func within(ctx context.Context, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return errors.New("interrupted")
	case <-time.After(benchPatience):
		return fmt.Errorf("nothing more came within %s", benchPatience)
	}
}

// stopwatch times messages from when they were due. The outputs of a message
// are known by its id, which begins their conversation.
type stopwatch struct {
	finished chan struct{}

	mu     sync.Mutex
	sent   map[string]sending
	took   []time.Duration // of those that count
	skip   int             // the first that counts
	left   int
	number int
}

type sending struct {
	n   int
	due time.Time
}

func newStopwatch(total, skip int) *stopwatch {
	return &stopwatch{finished: make(chan struct{}), sent: make(map[string]sending, total), skip: skip, left: total, number: total}
}

func (s *stopwatch) send(id string, n int, due time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent[id] = sending{n, due}
}

// see takes the first output of a message; others do not count.
func (s *stopwatch) see(id string) {
	now := time.Now()
	s.mu.Lock()
	defer s.mu.Unlock()
	from, ok := s.sent[id]
	if !ok {
		return
	}
	delete(s.sent, id)
	if from.n >= s.skip {
		s.took = append(s.took, now.Sub(from.due))
	}
	if s.left--; s.left == 0 {
		close(s.finished)
	}
}

func (s *stopwatch) came() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.number - s.left
}

// quantile is in milliseconds.
func (s *stopwatch) quantile(q float64) float64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.took) == 0 {
		return 0
	}
	slices.Sort(s.took)
	at := int(math.Ceil(q*float64(len(s.took)))) - 1
	return float64(s.took[max(at, 0)].Nanoseconds()) / 1e6
}
