package middleware

import (
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/sony/gobreaker/v2"

	"github.com/waybill-dev/waybill/pipeline"
)

// Breaker stops asking a system that is in trouble. After Failures failures in
// a row for a reason that says so (unavailable, timeout, throttled) it opens:
// the handler's intake pauses and messages in hand wait, without burning an
// attempt. After OpenFor one message is let through; if that goes well, all do.
type Breaker struct {
	Name     string
	Failures int           // 0: no breaker
	Window   time.Duration // how often the count starts anew while it is closed; 0: never
	OpenFor  time.Duration
	Stall    func(why string) (resume func()) // closes the handler's intake
}

// Middleware wraps h.
func (b Breaker) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if b.Failures <= 0 {
		return h
	}
	turn := newTurn()
	cb := gobreaker.NewCircuitBreaker[[]*message.Message](gobreaker.Settings{
		Name:        b.Name,
		MaxRequests: 1,
		Interval:    b.Window,
		Timeout:     b.OpenFor,
		ReadyToTrip: func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= uint32(b.Failures) }, //nolint:gosec // a count from the config
		IsSuccessful: func(err error) bool {
			return err == nil || !pipeline.ReasonOf(err).TripsBreaker()
		},
		// A stop says nothing of the other side.
		IsExcluded: func(err error) bool { return errors.Is(err, pipeline.ErrStopping) },
		OnStateChange: func(_ string, _, to gobreaker.State) {
			if to == gobreaker.StateOpen {
				b.open(turn)
			} else {
				turn.next()
			}
		},
	})
	return func(msg *message.Message) ([]*message.Message, error) {
		for {
			changed := turn.wait()
			produced, err := cb.Execute(func() ([]*message.Message, error) { return h(msg) })
			if !errors.Is(err, gobreaker.ErrOpenState) && !errors.Is(err, gobreaker.ErrTooManyRequests) {
				return produced, err
			}
			select {
			case <-changed:
			case <-pipeline.Draining(msg.Context()):
				return nil, stopping(msg)
			case <-msg.Context().Done():
				return nil, stopping(msg)
			}
		}
	}
}

// open closes the intake for as long as the breaker stays open. A timer that
// fires after the handler has stopped does no harm.
func (b Breaker) open(t *turn) {
	resume := b.Stall(fmt.Sprintf("its breaker is open after %d failures in a row", b.Failures))
	time.AfterFunc(b.OpenFor, func() {
		resume()
		t.next()
	})
}

// turn wakes everybody who waits for the breaker to change.
type turn struct {
	mu sync.Mutex
	ch chan struct{}
}

func newTurn() *turn { return &turn{ch: make(chan struct{})} }

func (t *turn) wait() <-chan struct{} {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.ch
}

func (t *turn) next() {
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.ch)
	t.ch = make(chan struct{})
}
