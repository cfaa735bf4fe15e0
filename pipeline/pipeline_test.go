package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReasonOf(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	for name, c := range map[string]struct {
		err       error
		reason    pipeline.Reason
		permanent bool
	}{
		"unmarked":                      {boom, pipeline.ReasonInternal, false},
		"marked":                        {pipeline.WithReason(boom, pipeline.ReasonThrottled), pipeline.ReasonThrottled, false},
		"the outermost wins":            {pipeline.WithReason(pipeline.WithReason(boom, pipeline.ReasonTimeout), pipeline.ReasonUnavailable), pipeline.ReasonUnavailable, false},
		"wrapped":                       {fmt.Errorf("call: %w", pipeline.WithReason(boom, pipeline.ReasonTimeout)), pipeline.ReasonTimeout, false},
		"joined":                        {errors.Join(boom, pipeline.WithReason(boom, pipeline.ReasonTimeout)), pipeline.ReasonTimeout, false},
		"a deadline":                    {fmt.Errorf("call: %w", context.DeadlineExceeded), pipeline.ReasonTimeout, false},
		"a panic":                       {&pipeline.PanicError{Value: 1}, pipeline.ReasonPanic, false},
		"permanent without a reason":    {pipeline.Permanent(boom), pipeline.ReasonInvalid, true},
		"permanent with a reason":       {pipeline.Permanent(pipeline.WithReason(boom, pipeline.ReasonRejected)), pipeline.ReasonRejected, true},
		"invalid":                       {pipeline.Invalid("line %d", 3), pipeline.ReasonInvalid, true},
		"permanent inside another mark": {pipeline.RetryAfter(pipeline.Permanent(boom), time.Second), pipeline.ReasonInvalid, true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.reason, pipeline.ReasonOf(c.err))
			require.Equal(t, c.permanent, pipeline.IsPermanent(c.err))
		})
	}
	require.NoError(t, pipeline.Permanent(nil))
	require.NoError(t, pipeline.RetryAfter(nil, time.Second))
	require.NoError(t, pipeline.WithReason(nil, pipeline.ReasonTimeout))
}

func TestRetryDelay(t *testing.T) {
	t.Parallel()
	d, ok := pipeline.RetryDelay(fmt.Errorf("call: %w", pipeline.RetryAfter(errors.New("busy"), 3*time.Second)))
	require.True(t, ok)
	require.Equal(t, 3*time.Second, d)
	_, ok = pipeline.RetryDelay(errors.New("busy"))
	require.False(t, ok)
}

func TestOutputID(t *testing.T) {
	t.Parallel()
	// A fixed value: downstream systems recognise repeats by it, so it must
	// never change between releases.
	require.Equal(t, "376f75e2-2f00-5de9-8793-de5a0589a469", pipeline.OutputID("in", "prepare", 0))
	rapid.Check(t, func(t *rapid.T) {
		type source struct {
			id, handler string
			index       int
		}
		draw := func() source {
			return source{rapid.StringMatching(`[a-z0-9-]{1,12}`).Draw(t, "id"), rapid.StringMatching(`[a-z]{1,8}`).Draw(t, "handler"), rapid.IntRange(0, 50).Draw(t, "index")}
		}
		a, b := draw(), draw()
		same := pipeline.OutputID(a.id, a.handler, a.index) == pipeline.OutputID(b.id, b.handler, b.index)
		if same != (a == b) {
			t.Fatalf("%v and %v", a, b)
		}
	})
}

func TestSecret(t *testing.T) {
	t.Parallel()
	t.Run("0-W7 a secret prints, logs and marshals as <secret>", func(t *testing.T) {
		t.Parallel()
		const canary = "CloudKart@123"
		s := pipeline.Secret(canary)
		text, err := json.Marshal(map[string]any{"p": s})
		require.NoError(t, err)
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "p", s, "b", pipeline.Broker{URL: s})
		for _, shown := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %q %s", s, s, s, s, s), string(text), log.String(), fmt.Sprintf("%+v", pipeline.SASL{Password: s})} {
			require.NotContains(t, shown, canary)
			require.Contains(t, shown, "secret")
		}
		require.Equal(t, canary, s.Reveal())
	})
}

func TestKinds(t *testing.T) {
	t.Parallel()
	kind := func(name string) pipeline.Kind {
		return pipeline.Kind{
			Name: name, NewConfig: func() any { return nil },
			New: func(pipeline.Env, any) (message.HandlerFunc, error) { return nil, nil },
		}
	}
	base := pipeline.NewKinds(kind("b"), kind("a"))
	more := base.With(kind("c"))
	require.Len(t, base.All(), 2, "With must not change the set it is called on")
	names := make([]string, 0, 3)
	for _, k := range more.All() {
		names = append(names, k.Name)
	}
	require.Equal(t, []string{"a", "b", "c"}, names)
	require.Panics(t, func() { base.With(kind("a")) })
	require.Panics(t, func() { base.With(pipeline.Kind{Name: "x"}) })
}
