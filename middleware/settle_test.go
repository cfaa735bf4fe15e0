package middleware

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// grave records dead letters, after failing as often as it is told to.
type grave struct {
	fails   int
	err     error
	letters []*message.Message
}

func (g *grave) send(_ context.Context, _ *message.Message, out []Output, _ []pipeline.Write) ([]error, error) {
	if g.fails--; g.fails >= 0 {
		return []error{g.err}, nil
	}
	g.letters = append(g.letters, out[0].Message)
	return []error{nil}, nil
}

func settle(g *grave, h Holder, log *slog.Logger) Settle {
	return Settle{Handler: "prepare", Group: "orders-in.prepare", DeadLetter: "orders-in.prepare.dlq", Send: g.send, Holder: h, Log: log}
}

func fail(err error) message.HandlerFunc {
	return func(*message.Message) ([]*message.Message, error) { return nil, err }
}

func TestSettle(t *testing.T) {
	t.Parallel()

	t.Run("0-14 success writes no error and no dead letter", func(t *testing.T) {
		t.Parallel()
		var log bytes.Buffer
		g := &grave{}
		msg, outcome, _ := incoming(t)
		_, err := settle(g, quick(nil), slog.New(slog.NewTextHandler(&log, nil))).Middleware(fail(nil))(msg)
		require.NoError(t, err)
		require.Equal(t, pipeline.ResultOK, outcome.Result)
		require.Empty(t, g.letters)
		require.Empty(t, log.String())
	})

	t.Run("0-12 a failure writes one error record, and the message is acknowledged as a dead letter instead of staying unacknowledged", func(t *testing.T) {
		t.Parallel()
		var log bytes.Buffer
		g := &grave{}
		msg, outcome, _ := incoming(t)
		_, err := settle(g, quick(nil), slog.New(slog.NewTextHandler(&log, nil))).Middleware(fail(errBoom))(msg)
		require.NoError(t, err, "the router must acknowledge")
		require.Equal(t, pipeline.ResultDead, outcome.Result)
		require.Len(t, g.letters, 1)
		require.Equal(t, 1, strings.Count(log.String(), "level=ERROR"))
	})

	t.Run("0-13 a failure does not reach the consume loop", func(t *testing.T) {
		t.Parallel()
		for _, cause := range []error{errBoom, pipeline.Invalid("x"), &pipeline.PanicError{Value: 1}} {
			msg, _, _ := incoming(t)
			_, err := settle(&grave{}, quick(nil), quiet).Middleware(fail(cause))(msg)
			require.NoError(t, err)
		}
	})

	t.Run("0-16 headers are kept on the dead letter instead of being discarded", func(t *testing.T) {
		t.Parallel()
		g := &grave{}
		msg, _, _ := incoming(t)
		_, err := settle(g, quick(nil), quiet).Middleware(fail(errBoom))(msg)
		require.NoError(t, err)
		require.Equal(t, "shop", g.letters[0].Metadata.Get("source"))
	})

	t.Run("0-W1 the dead letter has the bytes and the id, and says why, where and how often", func(t *testing.T) {
		t.Parallel()
		g := &grave{}
		msg, outcome, _ := incoming(t)
		run := Retry{Immediate: 1, Initial: time.Millisecond}.Middleware(fail(
			pipeline.WithReason(fmt.Errorf("reserve stock: %w", errBoom), pipeline.ReasonUnavailable)))
		_, err := settle(g, quick(nil), quiet).Middleware(run)(msg)
		require.NoError(t, err)
		letter := g.letters[0]
		require.Equal(t, "in-1", letter.UUID)
		require.Equal(t, `{"id":"7"}`, string(letter.Payload))
		for key, want := range map[string]string{
			pipeline.MetaDeadTopic: "orders-in", pipeline.MetaDeadPartition: "3", pipeline.MetaDeadOffset: "42",
			pipeline.MetaDeadGroup: "orders-in.prepare", pipeline.MetaDeadHandler: "prepare",
			pipeline.MetaDeadReason: "unavailable", pipeline.MetaDeadError: "reserve stock: boom",
			pipeline.MetaDeadErrorType: "*errors.errorString", pipeline.MetaDeadAttempts: "2",
			pipeline.MetaDeadFirst: outcome.First.UTC().Format(time.RFC3339Nano),
			pipeline.MetaDeadLast:  outcome.Last.UTC().Format(time.RFC3339Nano),
			"reason_poisoned":      "reserve stock: boom", "topic_poisoned": "orders-in",
			"handler_poisoned": "prepare", "subscriber_poisoned": "orders-in.prepare",
		} {
			require.Equal(t, want, letter.Metadata.Get(key), key)
		}
		require.Len(t, msg.Metadata, 1, "the message itself is as it came")
	})

	t.Run("a panic's stack is on the dead letter, capped", func(t *testing.T) {
		t.Parallel()
		g := &grave{}
		msg, _, _ := incoming(t)
		stack := "goroutine 1\npanic(x)\n\t/go/panic.go:1\nshop.(*Till).Open(0x1)\n" + strings.Repeat("f\n", maxStack)
		_, err := settle(g, quick(nil), quiet).Middleware(fail(&pipeline.PanicError{Value: "ouch", Stack: []byte(stack)}))(msg)
		require.NoError(t, err)
		got := g.letters[0].Metadata.Get(pipeline.MetaDeadStack)
		require.LessOrEqual(t, len(got), maxStack)
		require.True(t, strings.HasPrefix(got, "goroutine 1\n"))
		require.Equal(t, "panic", g.letters[0].Metadata.Get(pipeline.MetaDeadReason))
	})

	t.Run("while the dead-letter topic is away the message is held, even when it refuses for good", func(t *testing.T) {
		t.Parallel()
		for _, refusal := range []error{errBoom, pipeline.Permanent(errBoom)} {
			held := make(chan string, 1)
			g := &grave{fails: 3, err: refusal}
			msg, outcome, _ := incoming(t)
			_, err := settle(g, quick(held), quiet).Middleware(fail(errBoom))(msg)
			require.NoError(t, err)
			require.Len(t, g.letters, 1)
			require.Equal(t, pipeline.ResultDead, outcome.Result)
			require.Contains(t, <-held, "dead letter")
		}
	})

	t.Run("a stop is not a failure: nothing is settled and nothing is dead", func(t *testing.T) {
		t.Parallel()
		g := &grave{}
		msg, outcome, stop := incoming(t)
		_, err := settle(g, quick(nil), quiet).Middleware(Retry{}.Middleware(func(*message.Message) ([]*message.Message, error) {
			stop(pipeline.ErrStopping)
			return nil, context.Canceled
		}))(msg)
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.Empty(t, g.letters)
		require.Equal(t, pipeline.ResultStopped, outcome.Result)
	})
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	of := func(err error, stack string) string {
		return fingerprint(&pipeline.Outcome{Err: err, Reason: pipeline.ReasonInternal}, stack)
	}
	require.Equal(t,
		of(errors.New(`order "A-1": line 3: quantity 7`), ""),
		of(errors.New(`order "B-2": line 14: quantity 900`), ""), "what varies between messages does not split a group")
	require.NotEqual(t, of(errors.New("no id"), ""), of(errors.New("no lines"), ""))
	at := func(frame string) string { return "goroutine 1\npanic(1)\n\t/p.go:1\n" + frame + "(0x1)\n" }
	require.NotEqual(t, of(errBoom, at("a.F")), of(errBoom, at("b.G")), "other frames are other causes")
}

func TestClip(t *testing.T) {
	t.Parallel()
	require.Equal(t, "short", clip("short", 10))
	require.LessOrEqual(t, len(clip(strings.Repeat("é", 100), 20)), 20)
	require.True(t, strings.HasSuffix(clip(strings.Repeat("é", 100), 20), "…"))
	require.Equal(t, "bad \uFFFD", clip("bad \xff", 20), "a header must be text")
}

func TestCorrelation(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ key, want string }{
		"its own":               {pipeline.MetaCorrelationID, "c-1"},
		"under Watermill's key": {"correlation_id", "c-1"},
		"none: it begins one":   {"other", "in-1"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			msg, _, _ := incoming(t)
			msg.Metadata.Set(c.key, "c-1")
			_, err := Correlation(func(msg *message.Message) ([]*message.Message, error) {
				id, ok := pipeline.IdentityOf(msg.Context())
				require.True(t, ok)
				require.Equal(t, pipeline.Identity{Message: "in-1", Correlation: c.want}, id)
				return nil, nil
			})(msg)
			require.NoError(t, err)
		})
	}
}
