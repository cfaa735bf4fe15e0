package engine

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"slices"
	"testing"
	"time"
	"weak"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

func TestWorkers(t *testing.T) {
	t.Parallel()
	w := &workers{}
	defer w.close()
	var log logText
	r := &route{log: slog.New(slog.NewTextHandler(&log, nil)).With("handler", "work")}
	over, end := context.WithCancel(t.Context())
	end()
	msgs := make([]*message.Message, 4)
	for i, id := range []string{"good", "slow", "bad", "late"} {
		msgs[i] = message.NewMessageWithContext(t.Context(), id, nil)
	}
	msgs[3].SetContext(over)

	slow, ran := make(chan struct{}), make(chan string, len(msgs))
	r.chain = func(msg *message.Message) ([]*message.Message, error) {
		ran <- msg.UUID
		switch msg.UUID {
		case "slow":
			<-slow
		case "bad":
			return nil, errors.New("broken")
		}
		return nil, nil
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		w.do(r.settle, slices.Clone(msgs))
	}()
	<-msgs[0].Acked() // though another of its bundle is not done
	<-msgs[2].Nacked()
	require.Contains(t, log.String(), `level=ERROR msg="message is given back: broken" handler=work message=bad`)
	<-msgs[3].Nacked()
	select {
	case <-done:
		t.Fatal("a bundle is done when all of it is")
	case <-msgs[1].Acked():
		t.Fatal("it is not done")
	default:
	}
	close(slow)
	<-msgs[1].Acked()
	<-done
	close(ran)
	var ids []string
	for id := range ran {
		ids = append(ids, id)
	}
	require.ElementsMatch(t, []string{"good", "slow", "bad"}, ids, "what the subscription has let go of does not begin")
}

// TestWorkersLetGo: the router has a bundle until all of it is done, and
// in_flight_bytes counts what is not.
func TestWorkersLetGo(t *testing.T) {
	t.Parallel()
	w := &workers{}
	defer w.close()
	bundle := newBundle([]*message.Message{message.NewMessage("quick", nil), message.NewMessage("slow", nil)})
	quick := weak.Make(messagesOf(bundle)[0])

	slow := make(chan struct{})
	defer close(slow)
	go w.do(func(msg *message.Message) {
		if msg.UUID == "slow" {
			<-slow
		}
	}, messagesOf(bundle))
	require.Eventually(t, func() bool {
		runtime.GC()
		return quick.Value() == nil
	}, soon, time.Millisecond, "what is done is not kept in memory")
	runtime.KeepAlive(bundle)
}

func TestBundled(t *testing.T) {
	t.Parallel()
	in, out := make(chan *message.Message), make(chan *message.Message)
	go bundle(in, out)
	over, end := context.WithCancel(t.Context())
	first, gone := message.NewMessageWithContext(t.Context(), "1", nil), message.NewMessageWithContext(over, "2", nil)
	in <- first
	require.Equal(t, []*message.Message{first}, messagesOf(<-out), "nobody waits for a bundle to be full")
	in <- gone
	end() // while the router takes nothing
	in <- first
	for last := gone; last == gone; { // it is chance whether that one is still handed over, but nothing waits behind it
		msgs := messagesOf(<-out)
		last = msgs[len(msgs)-1]
	}
	close(in)
	_, open := <-out
	require.False(t, open)
}
