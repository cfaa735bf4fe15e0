package engine

import (
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// workers runs messages through their chains on goroutines that stay.
// Watermill's router starts one a message, whose stack then grows under the
// chain: copying it was a third of what the engine costs a message
// (BenchmarkMessage). The router's goroutine only waits, on a small stack.
//
// There are as many as ran at once; the windows bound that.
type workers struct {
	tasks   chan task
	stop    chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

// task is a message and where its end is told.
type task struct {
	run  message.HandlerFunc
	msg  *message.Message
	done chan error
}

func newWorkers() *workers {
	return &workers{tasks: make(chan task), stop: make(chan struct{})}
}

// do runs msg through run, which returns no messages, and returns its error.
func (w *workers) do(run message.HandlerFunc, msg *message.Message) error {
	t := task{run, msg, make(chan error, 1)}
	select {
	case w.tasks <- t:
	default:
		w.running.Go(func() { w.work(t) })
	}
	return <-t.done
}

// work does one task after the other until the workers are closed.
func (w *workers) work(t task) {
	for {
		_, err := t.run(t.msg)
		t.done <- err
		select {
		case t = <-w.tasks:
		case <-w.stop:
			return
		}
	}
}

// close ends the workers, once each has done what it does. With wait it
// returns when they have ended: not where a kind was cut short, since it may
// never notice. Only the first call does anything.
func (w *workers) close(wait bool) {
	w.once.Do(func() {
		close(w.stop)
		if wait {
			w.running.Wait()
		}
	})
}
