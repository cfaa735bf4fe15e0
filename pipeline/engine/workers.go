package engine

import (
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// workers runs messages through their chains on goroutines that stay: the stack
// of a new one grows under the chain, and copying it was a third of what the
// engine costs a message (BenchmarkMessage). They share a queue, and who takes
// from it wakes another while more waits, one at a time: so messages that do not
// wait for anything run one behind the other on as many as there are processors,
// in the order in which they came, and those that wait hold up none. There are
// as many as ran at once, which the windows bound; those that nothing needed
// for a while end.
type workers struct {
	mu     sync.Mutex
	queue  []task // what waits, from head on
	head   int
	idle   []chan struct{} // of each that has nothing to do; the last has run last
	spare  int             // so many of them, from the first on, had nothing to do since
	since  time.Time
	waking bool // one was woken and has not taken anything yet
	closed bool
}

// task is a message of a bundle.
type task struct {
	run func(*message.Message)
	msg *message.Message
}

// do has each message run through run. It takes them out of msgs: whoever has the
// bundle until all are settled would keep in memory what in_flight_bytes counts no
// longer.
func (w *workers) do(run func(*message.Message), msgs []*message.Message) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head > 0 && len(w.queue)+len(msgs) > cap(w.queue) {
		n := copy(w.queue, w.queue[w.head:])
		clear(w.queue[n:])
		w.queue, w.head = w.queue[:n], 0
	}
	for i, msg := range msgs {
		w.queue = append(w.queue, task{run, msg})
		msgs[i] = nil
	}
	w.wake()
	w.dismiss()
}

// spareFor is how long a worker rests before it may end. Each has a stack that
// the collector looks through, and a broker that was away leaves as many as there
// were messages in hand.
const spareFor = time.Second

// dismiss ends those that had nothing to do for that long, when work comes again.
func (w *workers) dismiss() {
	now := time.Now()
	if now.Sub(w.since) < spareFor {
		return
	}
	for _, idle := range w.idle[:w.spare] {
		close(idle)
	}
	w.idle = slices.Delete(w.idle, 0, w.spare)
	w.spare, w.since = len(w.idle), now
}

// wake has another worker take what waits, unless one is about to.
func (w *workers) wake() {
	if w.waking || w.head == len(w.queue) {
		return
	}
	w.waking = true
	last := len(w.idle) - 1
	if last < 0 {
		go w.work()
		return
	}
	idle := w.idle[last]
	w.idle = w.idle[:last]
	w.spare = min(w.spare, last)
	idle <- struct{}{} // holds one
}

// ballastSize is how much of its stack a worker uses while it rests. The
// collector halves a stack of which less than a quarter is in use, and the next
// message would grow it again, which was a quarter of what the engine costs. The
// chain and a kind need 8 to 16 KiB.
const ballastSize = 3300

// work does one task after the other until the workers are closed.
func (w *workers) work() {
	woken := make(chan struct{}, 1)
	var ballast [ballastSize]byte
	defer runtime.KeepAlive(&ballast)
	for isWoken := true; isWoken; _, isWoken = <-woken {
		w.awake()
		for t, ok := w.take(); ok; t, ok = w.take() {
			t.run(t.msg)
		}
		if !w.rest(woken) {
			return
		}
	}
}

// awake says that the one that was woken is about to take something.
func (w *workers) awake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.waking = false
}

// take takes the next task off the queue.
func (w *workers) take() (t task, ok bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.head == len(w.queue) {
		return t, false
	}
	t, w.queue[w.head] = w.queue[w.head], task{}
	if w.head++; w.head == len(w.queue) {
		w.queue, w.head = w.queue[:0], 0
	}
	w.wake()
	return t, true
}

// rest makes a worker one that is idle. False: no more work comes.
func (w *workers) rest(woken chan struct{}) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.idle = append(w.idle, woken)
		w.wake() // something may have come in between
	}
	return !w.closed
}

// close ends the workers, once each has done what it does. It does not wait for
// that: what is still being done then is a kind's that was cut short, and which
// may never notice.
func (w *workers) close() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.closed = true
	for _, idle := range w.idle {
		close(idle)
	}
	w.idle, w.spare = nil, 0
}
