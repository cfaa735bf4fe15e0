package app

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"sync/atomic"
	"syscall"
	"time"
)

// sameSignal: signals that come so close together are one. Supervisors send
// them to the process and to its group.
const sameSignal = time.Second

// interrupts turns SIGINT and SIGTERM into contexts. The first signal asks a
// command to end; the next one kills the process, so that a command that is
// stuck in a read can be ended. A command that stops in an orderly way of its
// own calls graceful: then the second signal asks for hurry, and the third
// kills.
type interrupts struct{ orderly atomic.Bool }

func (i *interrupts) graceful() { i.orderly.Store(true) }

// watch returns a context that ends at the first signal, and one that ends at
// the second. stop ends the watching.
func (i *interrupts) watch() (first, second context.Context, stop func()) {
	first, endFirst := context.WithCancel(context.Background())
	second, endSecond := context.WithCancelCause(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var asked time.Time
		for range signals {
			switch {
			case asked.IsZero():
				asked = time.Now()
				endFirst()
				if !i.orderly.Load() {
					signal.Stop(signals)
				}
			case time.Since(asked) > sameSignal:
				endSecond(errors.New("a second signal cut the stop short"))
				signal.Stop(signals)
			}
		}
	}()
	return first, second, func() {
		signal.Stop(signals)
		close(signals)
		<-done
		endFirst()
		endSecond(nil)
	}
}
