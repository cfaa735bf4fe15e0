package middleware

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

func TestBreaker(t *testing.T) {
	t.Parallel()

	down := pipeline.WithReason(errBoom, pipeline.ReasonUnavailable)
	setup := func(openFor time.Duration) (Breaker, *atomic.Int32, *atomic.Int32) {
		var stalls, resumes atomic.Int32
		return Breaker{Name: "b", Failures: 2, OpenFor: openFor, Stall: func(string) func() {
			stalls.Add(1)
			return func() { resumes.Add(1) }
		}}, &stalls, &resumes
	}

	t.Run("opens after failures in a row, stops the intake, and lets one through later", func(t *testing.T) {
		t.Parallel()
		b, stalls, resumes := setup(20 * time.Millisecond)
		healed := false
		runs := 0
		h := b.Middleware(func(*message.Message) ([]*message.Message, error) {
			if runs++; healed {
				return nil, nil
			}
			return nil, down
		})
		for range 2 {
			msg, _, _ := incoming(t)
			_, err := h(msg)
			require.ErrorIs(t, err, errBoom)
		}
		require.Equal(t, int32(1), stalls.Load())
		healed = true
		msg, _, _ := incoming(t)
		_, err := h(msg) // waits for the breaker
		require.NoError(t, err)
		require.Equal(t, 3, runs, "nothing ran while it was open")
		require.Eventually(t, func() bool { return resumes.Load() == 1 }, 5*time.Second, time.Millisecond)
	})

	t.Run("a message that waits burns no attempt", func(t *testing.T) {
		t.Parallel()
		b, _, _ := setup(20 * time.Millisecond)
		fails := 2
		h := Retry{Immediate: 3, Initial: time.Microsecond}.Middleware(b.Middleware(func(*message.Message) ([]*message.Message, error) {
			if fails--; fails >= 0 {
				return nil, down
			}
			return nil, nil
		}))
		msg, outcome, _ := incoming(t)
		_, err := h(msg)
		require.NoError(t, err)
		require.Equal(t, 3, outcome.Attempts)
	})

	t.Run("a wrong message does not open it", func(t *testing.T) {
		t.Parallel()
		b, stalls, _ := setup(time.Hour)
		h := b.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, pipeline.Invalid("no id") })
		for range 5 {
			msg, _, _ := incoming(t)
			_, err := h(msg)
			require.Error(t, err)
		}
		require.Zero(t, stalls.Load())
	})

	t.Run("a stop ends the wait", func(t *testing.T) {
		t.Parallel()
		b, _, _ := setup(time.Hour)
		h := b.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, down })
		for range 2 {
			msg, _, _ := incoming(t)
			_, err := h(msg)
			require.Error(t, err)
		}
		msg, _, stop := incoming(t)
		done := make(chan error)
		go func() { _, err := h(msg); done <- err }()
		stop(pipeline.ErrStopping)
		require.ErrorIs(t, <-done, pipeline.ErrStopping)
	})
}
