package engine

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const soon = 10 * time.Second

func TestEngine(t *testing.T) {
	t.Parallel()

	t.Run("0-15 an order whose publish fails is not acknowledged, and is when it is out at last", func(t *testing.T) {
		t.Parallel()
		var runs atomic.Int32
		r := newRig(t, func(msg *message.Message) ([]*message.Message, error) {
			runs.Add(1)
			return pass(msg)
		}, nil)
		r.fake.set(func(topic string) error {
			if topic == "out" {
				return pipeline.WithReason(errors.New("connection lost"), pipeline.ReasonUnavailable)
			}
			return nil
		})
		r.start(t)
		r.send("m-1")
		require.Eventually(t, func() bool { return len(r.State().Handlers[0].Held) == 1 }, soon, time.Millisecond, "held")
		require.Contains(t, strings.Join(r.State().Problems(), "\n"), "handler work is held: publish: publish to out: broker main: connection lost")
		require.Empty(t, r.fake.acked)
		require.Empty(t, r.fake.on("in.work.dlq"), "a broker that is away is no fault of the message")
		r.fake.set(nil)
		require.Equal(t, "m-1", <-r.fake.acked)
		require.Len(t, r.fake.on("out"), 1)
		require.Equal(t, int32(1), runs.Load(), "the kind did not run again")
		require.Eventually(t, func() bool { return len(r.State().Problems()) == 0 }, soon, time.Millisecond)
	})

	for name, outcome := range map[string]struct {
		err   error  // of the kind
		topic string // where the outcome goes; "": to the store
	}{
		"its outputs":     {nil, "out"},
		"its dead letter": {pipeline.Permanent(errors.New("no such sku")), "in.work.dlq"},
		"its retry":       {errors.New("not now"), ""},
	} {
		t.Run("X1 a message is acknowledged only once its outcome is kept, here "+name, func(t *testing.T) {
			t.Parallel()
			s := &cellar{}
			away := pipeline.WithReason(errors.New("connection lost"), pipeline.ReasonUnavailable)
			r := newRigWith(t, s, func(msg *message.Message) ([]*message.Message, error) {
				if outcome.topic == "" {
					s.set(store.ErrUnavailable)
				}
				return []*message.Message{msg}, outcome.err
			}, func(h *pipeline.Handler) {
				h.Retry.Delayed = pipeline.Delayed{Initial: time.Hour, Max: time.Hour, Multiplier: 1, Attempts: 1}
			})
			r.fake.set(func(topic string) error {
				if topic == outcome.topic {
					return away
				}
				return nil
			})
			r.start(t)
			r.send("m-1")
			require.Eventually(t, func() bool {
				held := strings.Join(r.State().Handlers[0].Held, "\n")
				return strings.Contains(held, "publish") || strings.Contains(held, "dead letter") || strings.Contains(held, "delay the message")
			}, soon, time.Millisecond, "it is held")
			require.Empty(t, r.fake.acked)
			r.fake.set(nil)
			s.set(nil)
			require.Equal(t, "m-1", <-r.fake.acked)
			if outcome.topic == "" {
				_, delayed := s.leased()
				require.Equal(t, []string{"m-1"}, delayed)
			} else {
				require.Len(t, r.fake.on(outcome.topic), 1)
			}
		})
	}

	t.Run("a kind that never notices its end does not keep a stop waiting", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			begun, finish := make(chan struct{}), make(chan struct{})
			r := newRig(t, func(*message.Message) ([]*message.Message, error) {
				close(begun)
				<-finish
				return nil, nil
			}, nil)
			r.fake.gone = make(chan struct{})
			r.start(t)
			r.send("m")
			<-begun
			close(r.fake.gone) // no drain waits for the message any more
			require.ErrorContains(t, <-r.Failed(), "gone for good")
			time.Sleep(time.Minute) //nolint:forbidigo // of synctest's clock
			_ = r.router.Close()    // unless it has by itself: it does where it was told of its handlers in time
			stopped := make(chan struct{})
			go func() {
				defer close(stopped)
				_ = r.Stop(t.Context())
			}()
			synctest.Wait()
			select {
			case <-stopped:
			default:
				t.Error("it waits for the kind")
			}
			close(finish)
			<-stopped
		})
	})

	t.Run("a held handler takes nothing more in", func(t *testing.T) {
		t.Parallel()
		var runs atomic.Int32
		r := newRig(t, func(msg *message.Message) ([]*message.Message, error) {
			runs.Add(1)
			return pass(msg)
		}, func(h *pipeline.Handler) { h.Concurrency = 1 })
		r.fake.set(func(string) error { return pipeline.WithReason(errors.New("away"), pipeline.ReasonUnavailable) })
		r.start(t)
		for range 10 {
			r.send("m")
		}
		require.Eventually(t, func() bool { return len(r.State().Handlers[0].Held) == 1 }, soon, time.Millisecond)
		require.Equal(t, int32(1), runs.Load())
		r.fake.set(nil)
		for range 10 {
			<-r.fake.acked
		}
	})

	t.Run("2-W3 a kind that panics kills nothing: the message is dead, the next is handled", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(msg *message.Message) ([]*message.Message, error) {
			if msg.UUID == "bad" {
				panic("ouch")
			}
			return pass(msg)
		}, nil)
		r.start(t)
		r.send("bad")
		require.Equal(t, "bad", <-r.fake.acked)
		r.send("good")
		require.Equal(t, "good", <-r.fake.acked)
		require.Equal(t, "panic", r.fake.on("in.work.dlq")[0].Metadata.Get(pipeline.MetaDeadReason))
		require.Len(t, r.fake.on("out"), 1)
	})

	t.Run("2-W4 no failure is swallowed: it is counted, and its message is a dead letter", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, func(*message.Message) ([]*message.Message, error) {
			return nil, pipeline.WithReason(errors.New("no"), pipeline.ReasonRejected)
		}, nil)
		r.start(t)
		r.send("m")
		<-r.fake.acked
		require.Equal(t, 1.0, r.value(t, "waybill_messages_processed_total", "dead"))
		require.Equal(t, 1.0, r.value(t, "waybill_dead_letters_total", "rejected"))
		require.Len(t, r.fake.on("in.work.dlq"), 1)
	})

	t.Run("0-W5 a stop lets what runs finish with a live context, and takes nothing more", func(t *testing.T) {
		t.Parallel()
		begun, finish := make(chan struct{}), make(chan struct{})
		var atEnd error
		r := newRig(t, func(msg *message.Message) ([]*message.Message, error) {
			close(begun)
			<-finish
			atEnd = msg.Context().Err()
			return pass(msg)
		}, func(h *pipeline.Handler) { h.Concurrency = 1 })
		r.start(t)
		r.send("m-1")
		<-begun
		r.send("m-2")
		stopped := make(chan error)
		go func() { stopped <- r.Stop(context.Background()) }()
		require.Never(t, func() bool { return len(stopped) > 0 }, 50*time.Millisecond, 10*time.Millisecond)
		close(finish)
		require.NoError(t, <-stopped)
		require.NoError(t, atEnd, "the context was cancelled under the handler")
		require.Len(t, r.fake.on("out"), 1)
		require.Equal(t, "m-1", <-r.fake.acked)
		require.Empty(t, r.fake.acked, "m-2 stays with its broker")
	})

	t.Run("a stop whose time is up says so, and settles nothing of what ran", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		r := newRig(t, func(msg *message.Message) ([]*message.Message, error) {
			close(begun)
			<-msg.Context().Done()
			return nil, context.Cause(msg.Context())
		}, nil)
		r.start(t)
		r.send("m-1")
		<-begun
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		require.ErrorContains(t, r.Stop(ctx), "in.work")
		require.Empty(t, r.fake.acked)
		require.Empty(t, r.fake.on("in.work.dlq"), "a stop is not a failure")
	})

	t.Run("2-18 a broker that is away at the start is waited for", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, nil)
		var tries atomic.Int32
		r.fake.provision = func() error {
			if tries.Add(1) < 3 {
				return pipeline.WithReason(errors.New("connection refused"), pipeline.ReasonUnavailable)
			}
			return nil
		}
		require.Contains(t, strings.Join(r.State().Problems(), "\n"), "waits for its brokers")
		r.start(t)
		require.Equal(t, int32(3), tries.Load())
	})

	t.Run("a broker that refuses for good ends the engine with its words", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, nil)
		r.fake.provision = func() error { return pipeline.Permanent(errors.New("access refused for user 'guest'")) }
		r.Start()
		require.ErrorContains(t, <-r.Failed(), "access refused for user 'guest'")
		require.NoError(t, r.Stop(context.Background()))
	})

	t.Run("a broker that is down is named with its address and user", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, nil)
		r.start(t)
		r.fake.mu.Lock()
		r.fake.down = true
		r.fake.mu.Unlock()
		require.Contains(t, strings.Join(r.State().Problems(), "\n"), "broker main at 127.0.0.1:1: not connected: connection refused")
		require.Equal(t, 0.0, r.value(t, "waybill_broker_connected", "main"))
	})

	t.Run("2-20 rate, queue length, connection and errors are metrics", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, nil)
		r.start(t)
		r.send("m")
		<-r.fake.acked
		require.Equal(t, 1.0, r.value(t, "waybill_messages_processed_total", "ok"))
		require.Equal(t, 7.0, r.value(t, "waybill_backlog_messages", "in.work"))
		require.Equal(t, 1.0, r.value(t, "waybill_broker_connected", "main"))
		require.Equal(t, 0.0, r.value(t, "waybill_messages_processed_total", "dead"))
	})
}

// value is that of a metric with this label value.
func (r *rig) value(t *testing.T, name, label string) float64 {
	t.Helper()
	families, err := r.metrics.Gather()
	require.NoError(t, err)
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetValue() == label {
					return m.GetCounter().GetValue() + m.GetGauge().GetValue()
				}
			}
		}
	}
	require.Failf(t, "no such metric", "%s with %s", name, label)
	return 0
}

// TestStop_IsNoError: the router sees its handlers end before it is closed, as they
// are to. It sees that if it already waited for handlers when they were added.
func TestStop_IsNoError(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, pass, nil)
		waits := make(chan struct{})
		r.fake.provision = func() error { <-waits; return nil }
		r.Start()
		synctest.Wait()
		close(waits)
		synctest.Wait()
		require.True(t, r.State().Handlers[0].Running)
		r.giveUp()
		require.NoError(t, r.routes[0].drain(t.Context()))
		synctest.Wait()
		require.True(t, r.router.IsClosed(), "it has seen that all have ended")
		require.NoError(t, r.Stop(t.Context()))
		require.Empty(t, r.errors.String())
	})
}

func TestNew_NamesTheHandlerWhoseKindRefuses(t *testing.T) {
	t.Parallel()
	_, err := New(Options{
		Pipeline: pipeline.Pipeline{Handlers: []pipeline.Handler{{Name: "work", Kind: "nope"}}},
		Log:      slog.New(slog.DiscardHandler),
	})
	require.ErrorContains(t, err, `handler work: kind "nope" is not registered`)
}
