package engine

import (
	"runtime"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// workers runs messages through their chains on goroutines that stay: the stack
// of a new one grows under the chain, and copying it was a third of what the
// engine costs a message (BenchmarkMessage). There are as many as ran at once;
// the windows bound that.
type workers struct {
	mu     sync.Mutex
	idle   []chan task // of each that has nothing to do; the last has run last
	closed bool
}

// task is a message of a bundle.
type task struct {
	run  func(*message.Message)
	msg  *message.Message
	done *sync.WaitGroup
}

// do runs messages through run, which settles them, and returns when all are
// done. It takes them out of msgs: whoever has the bundle until then would keep
// in memory what in_flight_bytes counts no longer.
func (w *workers) do(run func(*message.Message), msgs []*message.Message) {
	var done sync.WaitGroup
	done.Add(len(msgs))
	for i, msg := range msgs {
		msgs[i] = nil
		t := task{run, msg, &done}
		if idle := w.take(); idle != nil {
			idle <- t
		} else {
			go w.work(t)
		}
	}
	done.Wait()
}

// take returns a worker that is idle, or nil.
func (w *workers) take() (idle chan<- task) {
	w.mu.Lock()
	defer w.mu.Unlock()
	last := len(w.idle) - 1
	if last < 0 {
		return nil
	}
	idle, w.idle = w.idle[last], w.idle[:last]
	return idle
}

// ballastSize is how much of its stack a worker uses while it rests. The
// collector halves a stack of which less than a quarter is in use, and the next
// message would grow it again, which was a quarter of what the engine costs. The
// chain and a kind need 8 to 16 KiB.
const ballastSize = 3300

// work does one task after the other until the workers are closed.
func (w *workers) work(t task) {
	next := make(chan task, 1)
	var ballast [ballastSize]byte
	defer runtime.KeepAlive(&ballast)
	for more := true; more; {
		t.run(t.msg)
		t.done.Done()
		if !w.rest(next) {
			return
		}
		t, more = <-next
	}
}

// rest makes a worker one that is idle. False: no more work comes.
func (w *workers) rest(next chan task) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.closed {
		w.idle = append(w.idle, next)
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
	w.idle = nil
}
