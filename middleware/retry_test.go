package middleware

import (
	"errors"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

var errBoom = errors.New("boom")

func TestRetry(t *testing.T) {
	t.Parallel()

	t.Run("2-23 runs a failing kind once and as often again as the policy says", func(t *testing.T) {
		t.Parallel()
		msg, outcome, _ := incoming(t)
		runs := 0
		_, err := Retry{Immediate: 2, Initial: time.Millisecond}.Middleware(func(*message.Message) ([]*message.Message, error) {
			runs++
			return nil, errBoom
		})(msg)
		require.ErrorIs(t, err, errBoom)
		require.Equal(t, 3, runs)
		require.Equal(t, 3, outcome.Attempts)
		require.False(t, outcome.First.After(outcome.Last))
	})

	t.Run("does not run again what cannot be mended", func(t *testing.T) {
		t.Parallel()
		msg, outcome, _ := incoming(t)
		_, err := Retry{Immediate: 5, Initial: time.Millisecond}.Middleware(func(*message.Message) ([]*message.Message, error) {
			return nil, pipeline.Invalid("no id")
		})(msg)
		require.True(t, pipeline.IsPermanent(err))
		require.Equal(t, 1, outcome.Attempts)
		require.Equal(t, pipeline.ReasonInvalid, outcome.Reason)
	})

	t.Run("gives each run the message as it came", func(t *testing.T) {
		t.Parallel()
		msg, _, _ := incoming(t)
		var seen []string
		_, err := Retry{Immediate: 1, Initial: time.Millisecond}.Middleware(func(run *message.Message) ([]*message.Message, error) {
			seen = append(seen, run.UUID+run.Metadata.Get("source"))
			run.UUID = "changed"
			run.Metadata.Set("source", "changed")
			return nil, errBoom
		})(msg)
		require.ErrorIs(t, err, errBoom)
		require.Equal(t, []string{"in-1shop", "in-1shop"}, seen)
		require.Equal(t, "shop", msg.Metadata.Get("source"))
	})

	t.Run("a stop in the middle of a run burns no attempt", func(t *testing.T) {
		t.Parallel()
		msg, outcome, stop := incoming(t)
		_, err := Retry{Immediate: 5, Initial: time.Hour}.Middleware(func(*message.Message) ([]*message.Message, error) {
			stop(pipeline.ErrStopping)
			return nil, errBoom
		})(msg)
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.Zero(t, outcome.Attempts)
	})

	t.Run("a stop while waiting ends the wait", func(t *testing.T) {
		t.Parallel()
		msg, outcome, stop := incoming(t)
		ran := make(chan struct{})
		done := make(chan error)
		go func() {
			_, err := Retry{Immediate: 5, Initial: time.Hour}.Middleware(func(*message.Message) ([]*message.Message, error) {
				close(ran)
				return nil, errBoom
			})(msg)
			done <- err
		}()
		<-ran
		stop(pipeline.ErrStopping)
		require.ErrorIs(t, <-done, pipeline.ErrStopping)
		require.Equal(t, 1, outcome.Attempts)
	})
}

func TestPauses(t *testing.T) {
	t.Parallel()
	t.Run("2-W6 the pauses grow, inside of the process", func(t *testing.T) {
		t.Parallel()
		pauses := Retry{Initial: 100 * time.Millisecond}.pauses()
		for i := range 5 {
			middle := 100 * time.Millisecond << i
			got := pauses.NextBackOff()
			require.InDelta(t, middle, got, float64(middle)/2+1, "pause %d", i)
		}
	})
}

func TestPauseFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		err    error
		policy time.Duration
		want   time.Duration
	}{
		"the policy's own":               {errBoom, time.Second, time.Second},
		"what the other side asks for":   {pipeline.RetryAfter(errBoom, 3*time.Second), time.Second, 3 * time.Second},
		"never sooner than the policy":   {pipeline.RetryAfter(errBoom, time.Second), 2 * time.Second, 2 * time.Second},
		"not for so long as to hurt all": {pipeline.RetryAfter(errBoom, time.Hour), time.Second, retryAfterMax},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, pauseFor(c.err, c.policy))
		})
	}
}

func TestTimeout(t *testing.T) {
	t.Parallel()
	msg, _, _ := incoming(t)
	before := msg.Context()
	_, err := Timeout{After: time.Millisecond}.Middleware(func(msg *message.Message) ([]*message.Message, error) {
		<-msg.Context().Done()
		return nil, msg.Context().Err()
	})(msg)
	require.Equal(t, pipeline.ReasonTimeout, pipeline.ReasonOf(err))
	require.ErrorContains(t, err, "1ms")
	require.Equal(t, before, msg.Context(), "the context after the run must be the one before it")
}

func TestRecover(t *testing.T) {
	t.Parallel()
	msg, _, _ := incoming(t)
	_, err := Recover(func(*message.Message) ([]*message.Message, error) { panic("ouch") })(msg)
	var p *pipeline.PanicError
	require.ErrorAs(t, err, &p)
	require.Equal(t, pipeline.ReasonPanic, pipeline.ReasonOf(err))
	require.Contains(t, p.StackTrace(), "TestRecover")
}

func TestThrottle(t *testing.T) {
	t.Parallel()
	t.Run("2-25 lets no more through than the rate allows", func(t *testing.T) {
		t.Parallel()
		h := Throttle{PerSecond: 0.001, Burst: 2}.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, nil })
		for range 2 {
			msg, _, _ := incoming(t)
			_, err := h(msg)
			require.NoError(t, err)
		}
		msg, _, stop := incoming(t)
		done := make(chan error)
		go func() { _, err := h(msg); done <- err }()
		select {
		case err := <-done:
			require.Fail(t, "the third went through at once", "%v", err)
		default:
		}
		stop(pipeline.ErrStopping)
		require.ErrorIs(t, <-done, pipeline.ErrStopping)
	})
}
