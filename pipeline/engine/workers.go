package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
)

// workers runs messages through their chains on goroutines that stay: the stack
// of a new one grows under the chain, and copying it was a third of what the
// engine costs a message (BenchmarkMessage).
//
// There are as many as ran at once; the windows bound that.
type workers struct {
	log     *slog.Logger
	tasks   chan task
	stop    chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

// task is a message of a bundle.
type task struct {
	run  message.HandlerFunc
	msg  *message.Message
	done *sync.WaitGroup
}

func newWorkers(log *slog.Logger) *workers {
	return &workers{log: log, tasks: make(chan task), stop: make(chan struct{})}
}

// do runs messages through run, which returns no messages, settles each when it
// is done, and returns when all are.
func (w *workers) do(run message.HandlerFunc, msgs []*message.Message) {
	var done sync.WaitGroup
	done.Add(len(msgs))
	for _, msg := range msgs {
		t := task{run, msg, &done}
		select {
		case w.tasks <- t:
		default:
			w.running.Go(func() { w.work(t) })
		}
	}
	done.Wait()
}

// work does one task after the other until the workers are closed.
func (w *workers) work(t task) {
	for {
		w.settle(t)
		t.done.Done()
		select {
		case t = <-w.tasks:
		case <-w.stop:
			return
		}
	}
}

// settle acknowledges the message, or gives it back to its subscription.
func (w *workers) settle(t task) {
	_, err := t.run(t.msg)
	if err == nil {
		t.msg.Ack()
		return
	}
	if !errors.Is(err, context.Canceled) {
		w.log.Error("message is given back: "+err.Error(), "message", t.msg.UUID)
	}
	t.msg.Nack()
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
