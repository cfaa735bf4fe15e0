package brokertest

import (
	"errors"
	"sync"

	"github.com/stretchr/testify/require"
)

var errNotBegun = errors.New("not begun")

// told is who is told what became of messages.
type told struct {
	mu    sync.Mutex
	times []int // by number
	errs  []error
	left  int
	all   chan struct{} // closed when each was told of
}

func newTold(n int) *told {
	return &told{times: make([]int, n), errs: make([]error, n), left: n, all: make(chan struct{})}
}

// Confirmed implements pipeline.Confirmer.
func (t *told) Confirmed(number int, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.errs[number] = err
	if t.times[number]++; t.times[number] > 1 {
		return
	}
	if t.left--; t.left == 0 {
		close(t.all)
	}
}

// wait waits until each was told of, and returns what was said.
func (t *told) wait() []error {
	<-t.all
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.errs
}

// twice lists those that were told of more than once.
func (t *told) twice() (numbers []int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for n, times := range t.times {
		if times > 1 {
			numbers = append(numbers, n)
		}
	}
	return numbers
}

// startedIsToldOnce: of each message that was begun it is told once whether it
// was confirmed; what was is there for a process that comes later.
func startedIsToldOnce(f *fixture) {
	const total = 300
	b, sub := f.ready()
	require.NoError(f, b.Publisher().Publish(sub.Topic.Name))
	first := f.message(sub.Topic, total, "")
	f.eventually(func() bool { return b.Start(sub.Topic.Name, first, newTold(1), 0) }, "to publish nothing connects")
	t, begun := newTold(total), 0
	for n, msg := range f.messages(sub.Topic, 0, total, 10) {
		if b.Start(sub.Topic.Name, msg, t, n) {
			begun++
			continue
		}
		f.publish(b, sub.Topic, msg)
		t.Confirmed(n, nil)
	}
	require.Positive(f, begun, "messages that were begun")
	f.inTime("Confirmed", func() {
		for n, err := range t.wait() {
			require.NoError(f, err, n)
		}
	})
	f.closed(b)
	require.Empty(f, t.twice(), "told of more than once")
	c := f.consume(f.open(), sub, nil)
	f.eventually(func() bool { return c.acked() == total+1 }, "all are there")
}

// closeTellsWhatWasStarted: a broker that closes tells of all that was begun; a
// closed one begins nothing.
func closeTellsWhatWasStarted(f *fixture) {
	const total = 300
	b, sub := f.ready()
	f.publish(b, sub.Topic, f.message(sub.Topic, total, ""))
	t := newTold(total)
	for n, msg := range f.messages(sub.Topic, 0, total, 10) {
		if !b.Start(sub.Topic.Name, msg, t, n) {
			t.Confirmed(n, errNotBegun)
		}
	}
	f.closed(b)
	var errs []error
	f.inTime("Confirmed", func() { errs = t.wait() })
	require.Empty(f, t.twice(), "told of more than once")
	require.False(f, b.Start(sub.Topic.Name, f.message(sub.Topic, 0, ""), t, 0), "a closed broker begins nothing")
	c := f.consume(f.open(), sub, nil)
	f.eventually(func() bool {
		for n, err := range errs {
			if err == nil && !c.has(f.message(sub.Topic, n, "").UUID) {
				return false
			}
		}
		return true
	}, "all that were confirmed are there")
}
