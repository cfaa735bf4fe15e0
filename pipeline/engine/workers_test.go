package engine

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

// TestRoute_handle: a slow message holds up no other of its bundle, and the bundle
// is done when all of it is.
func TestRoute_handle(t *testing.T) {
	t.Parallel()
	r := &route{workers: &workers{}, log: slog.New(slog.DiscardHandler)}
	defer r.workers.close()
	slow, ran, done := make(chan struct{}), make(chan string), make(chan struct{})
	r.chain = func(msg *message.Message) ([]*message.Message, error) {
		if msg.UUID == "slow" {
			<-slow
		}
		ran <- msg.UUID
		return nil, nil
	}
	go func() {
		defer close(done)
		r.handle([]*message.Message{message.NewMessage("slow", nil), message.NewMessage("quick", nil)})
	}()
	require.Equal(t, "quick", <-ran)
	select {
	case <-done:
		t.Fatal("a bundle is done when all of it is")
	default:
	}
	close(slow)
	require.Equal(t, "slow", <-ran)
	<-done
}

// TestWorkersDismiss: of many workers that a burst needed, few stay.
func TestWorkersDismiss(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := &workers{}
		defer w.close()
		run := func(n int, held <-chan struct{}) {
			var all sync.WaitGroup
			all.Add(n)
			w.do(func(*message.Message) {
				defer all.Done()
				<-held
			}, make([]*message.Message, n))
			all.Wait()
			synctest.Wait() // until they rest
		}
		resting := func() int {
			w.mu.Lock()
			defer w.mu.Unlock()
			return len(w.idle)
		}
		held := make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(held) })
		run(100, held)
		require.Equal(t, 100, resting(), "each waited on a worker of its own")
		run(1, held)
		require.Equal(t, 100, resting(), "they may be needed again soon")
		for range 3 {
			time.Sleep(spareFor) //nolint:forbidigo // in a bubble
			run(1, held)
		}
		require.Equal(t, 1, resting())
		held = make(chan struct{})
		time.AfterFunc(time.Millisecond, func() { close(held) })
		run(100, held)
		require.Equal(t, 100, resting(), "and as many as are needed come again")
	})
}

// TestRoute_settle: what the chain could not end is told; what the subscription
// has let go of does not begin.
func TestRoute_settle(t *testing.T) {
	t.Parallel()
	var log logText
	r := &route{log: slog.New(slog.NewTextHandler(&log, nil)).With("handler", "work")}
	ran := ""
	r.chain = func(msg *message.Message) ([]*message.Message, error) {
		ran += msg.UUID
		return nil, errors.New("broken")
	}
	require.False(t, r.settle(message.NewMessageWithContext(t.Context(), "bad", nil), nil))
	require.Equal(t, "bad", ran)
	require.Contains(t, log.String(), `level=ERROR msg="message is given back: broken" handler=work message=bad`)

	over, end := context.WithCancel(t.Context())
	end()
	require.False(t, r.settle(message.NewMessageWithContext(over, "late", nil), nil))
	require.Equal(t, "bad", ran)
}

// TestWorkersLetGo: the router has a bundle until all of it is done, and
// in_flight_bytes counts what is not.
func TestWorkersLetGo(t *testing.T) {
	t.Parallel()
	w := &workers{}
	defer w.close()
	bundle := []*message.Message{message.NewMessage("quick", nil), message.NewMessage("slow", nil)}
	quick := weak.Make(bundle[0])

	slow := make(chan struct{})
	defer close(slow)
	w.do(func(msg *message.Message) {
		if msg.UUID == "slow" {
			<-slow
		}
	}, bundle)
	require.Eventually(t, func() bool {
		runtime.GC()
		return quick.Value() == nil
	}, soon, time.Millisecond, "what is done is not kept in memory")
	runtime.KeepAlive(bundle)
}
