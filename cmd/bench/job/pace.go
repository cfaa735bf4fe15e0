package job

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"
)

// Load is what latency is measured under.
const (
	Rate     = 1000            // messages a second
	WarmUp   = 2 * time.Second // at that rate, not counted
	Measured = 8 * time.Second
)

// Paced is how many messages Pace sends.
const Paced = int((WarmUp + Measured) / time.Second * Rate)

// Pace calls send for the orders 1 to Paced, each when it is due. If send
// blocks, what was due meanwhile follows at once, and its latency says so.
func Pace(ctx context.Context, send func(seq int, due time.Time) error) error {
	begin := time.Now()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for seq := 1; seq <= Paced; seq++ {
		due := begin.Add(time.Duration(seq) * time.Second / Rate)
		if wait := time.Until(due); wait > 0 {
			timer.Reset(wait)
			select {
			case <-ctx.Done():
				return context.Cause(ctx)
			case <-timer.C:
			}
		}
		if err := send(seq, due); err != nil {
			return err
		}
	}
	return nil
}

// Latencies are what messages took from when they were due until their
// outputs were seen, in milliseconds.
type Latencies struct{ P50, P99, P999 float64 }

// Stopwatch takes the outputs of what Pace has sent. Order 0 may be sent
// before, to see that the client is at work. Its methods may be called by many
// goroutines.
type Stopwatch struct {
	started, finished chan struct{}

	mu   sync.Mutex
	took []time.Duration // by number; 0: not seen
	left int
}

// NewStopwatch returns one that has seen nothing.
func NewStopwatch() *Stopwatch {
	return &Stopwatch{
		started: make(chan struct{}), finished: make(chan struct{}),
		took: make([]time.Duration, Paced+1), left: Paced + 1,
	}
}

// See takes an output as seen now. What is no order of ours, or came before,
// does not count.
func (s *Stopwatch) See(payload []byte) {
	now := time.Now()
	seq, err := Seq(payload)
	due, failed := Due(payload)
	if err != nil || failed != nil || seq < 0 || seq > Paced {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.took[seq] != 0 {
		return
	}
	s.took[seq] = max(1, now.Sub(due))
	if seq == 0 {
		close(s.started)
	}
	if s.left--; s.left == 0 {
		close(s.finished)
	}
}

// Started is closed when order 0 was seen.
func (s *Stopwatch) Started() <-chan struct{} { return s.started }

// Finished is closed when all orders were seen.
func (s *Stopwatch) Finished() <-chan struct{} { return s.finished }

// Latencies are those of the orders after the warm-up. It is called once all
// are finished.
func (s *Stopwatch) Latencies() Latencies {
	s.mu.Lock()
	defer s.mu.Unlock()
	took := slices.Sorted(slices.Values(s.took[1+int(WarmUp/time.Second)*Rate:]))
	at := func(quantile float64) float64 {
		i := int(math.Ceil(quantile*float64(len(took)))) - 1
		return float64(took[i].Nanoseconds()) / 1e6
	}
	return Latencies{P50: at(0.5), P99: at(0.99), P999: at(0.999)}
}
