package middleware

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// shelf is a store that keeps the last delayed message. Its writes fail as it
// is told to.
type shelf struct {
	store.Delayed
	m     store.DelayedMessage
	puts  int
	again int
	errs  []error
}

func (s *shelf) Delay(m store.DelayedMessage) pipeline.Write {
	return func(any) error { return s.put(m, &s.puts) }
}

func (s *shelf) DelayAgain(l store.Lease) pipeline.Write {
	return func(any) error { return s.put(l.DelayedMessage, &s.again) }
}

func (s *shelf) put(m store.DelayedMessage, n *int) error {
	if len(s.errs) > 0 {
		err := s.errs[0]
		s.errs = s.errs[1:]
		return err
	}
	s.m = m
	*n++
	return nil
}

// delaying is settle and retry around a kind, with a policy.
type delaying struct {
	shelf  shelf
	grave  grave
	told   []string
	policy pipeline.Delayed
	settle Settle
}

func newDelaying(policy pipeline.Delayed) *delaying {
	d := &delaying{policy: policy}
	d.settle = settle(&d.grave, quick(nil), quiet)
	d.settle.Send = func(ctx context.Context, in *message.Message, out []Output, writes []pipeline.Write) ([]error, error) {
		for _, w := range writes {
			if err := w(nil); err != nil {
				return make([]error, len(out)), err
			}
		}
		if len(out) == 0 {
			return nil, nil
		}
		return d.grave.send(ctx, in, out, nil)
	}
	d.settle.Delay = Delay{
		Handler: "prepare", Policy: policy, Store: &d.shelf, Lane: func(*message.Message) string { return "k" },
		OnDelay: func(lane string) { d.told = append(d.told, lane) },
	}
	return d
}

// run handles a message: the first time as its broker hands it out, then as it
// comes from the shelf.
func (d *delaying) run(t *testing.T, immediate int, kind message.HandlerFunc) *pipeline.Outcome {
	t.Helper()
	msg, outcome, _ := incoming(t)
	if d.shelf.puts > 0 {
		l := &store.Lease{DelayedMessage: d.shelf.m, Token: "t"}
		outcome.Attempts, outcome.First = l.Attempts, l.First
		msg.SetContext(store.WithLease(msg.Context(), l))
	}
	_, err := d.settle.Middleware(Retry{Immediate: immediate, Initial: time.Millisecond, Delayed: d.settle.Delay.Left}.Middleware(kind))(msg)
	require.NoError(t, err)
	return outcome
}

func TestDelay(t *testing.T) {
	t.Parallel()
	policy := pipeline.Delayed{Initial: 5 * time.Second, Max: 30 * time.Second, Multiplier: 2, Attempts: 5}

	t.Run("1-W2 retries follow the policy: waits grow up to the longest, attempts count over all of them, and then it is dead", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := newDelaying(policy)
			runs := 0
			begun := time.Now()
			for _, wait := range []time.Duration{5, 10, 20, 30, 30} {
				outcome := d.run(t, 2, func(*message.Message) ([]*message.Message, error) { runs++; return nil, errBoom })
				require.Equal(t, pipeline.ResultDelayed, outcome.Result)
				require.Equal(t, runs, outcome.Attempts)
				require.Equal(t, runs, d.shelf.m.Attempts)
				require.Equal(t, time.Now().Add(wait*time.Second).UTC(), d.shelf.m.Due)
				time.Sleep(wait * time.Second) //nolint:forbidigo // the bubble's own time
			}
			require.Empty(t, d.grave.letters)
			outcome := d.run(t, 2, func(*message.Message) ([]*message.Message, error) { runs++; return nil, errBoom })
			require.Equal(t, pipeline.ResultDead, outcome.Result)
			require.Equal(t, 3*6, runs, "(immediate+1) × (attempts+1)")
			letter := d.grave.letters[0].Metadata
			require.Equal(t, "18", letter.Get(pipeline.MetaDeadAttempts))
			first, err := time.Parse(time.RFC3339Nano, letter.Get(pipeline.MetaDeadFirst))
			require.NoError(t, err)
			require.WithinDuration(t, begun, first, time.Second, "the very first failure")
			require.Equal(t, 1, d.shelf.puts)
			require.Equal(t, 4, d.shelf.again, "it keeps its place")
		})
	})

	t.Run("what waits is the message, byte by byte, and its story", func(t *testing.T) {
		t.Parallel()
		d := newDelaying(policy)
		d.run(t, 0, fail(pipeline.WithReason(errBoom, pipeline.ReasonThrottled)))
		m := d.shelf.m
		require.Equal(t, []any{"prepare", "in-1", "orders-in", int32(3), int64(42), "k", 1}, []any{m.Handler, m.Message, m.Topic, m.Partition, m.Offset, m.Key, m.Rounds})
		require.Equal(t, store.Content{Headers: map[string]string{"source": "shop"}, Payload: []byte(`{"id":"7"}`)}, m.Content)
		require.Equal(t, []any{pipeline.ReasonThrottled, "boom"}, []any{m.Reason, m.Error})
		require.Equal(t, []string{"k"}, d.told)
	})

	t.Run("waits are jittered by the share that the policy says", func(t *testing.T) {
		t.Parallel()
		d := Delay{Policy: pipeline.Delayed{Initial: time.Second, Max: time.Minute, Multiplier: 3, Jitter: 0.2}}
		seen := make(map[time.Duration]bool)
		for range 100 {
			wait := d.pause(1, errBoom)
			require.InDelta(t, 3, wait.Seconds(), 0.6)
			seen[wait] = true
		}
		require.Greater(t, len(seen), 50)
		require.LessOrEqual(t, d.pause(100000, errBoom), 72*time.Second, "no overflow")
	})

	t.Run("a long pause that the other side asks for is waited for in the store, and uses up no run here", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			d := newDelaying(policy)
			runs := 0
			asks := func(pause time.Duration) message.HandlerFunc {
				return func(*message.Message) ([]*message.Message, error) {
					runs++
					return nil, pipeline.RetryAfter(errBoom, pause)
				}
			}
			d.run(t, 3, asks(time.Hour))
			require.Equal(t, 1, runs)
			require.Equal(t, time.Now().Add(time.Hour).UTC(), d.shelf.m.Due, "however long the policy's waits are")
			runs = 0
			d.run(t, 3, asks(time.Second))
			require.Equal(t, 4, runs, "a second is no long pause")
			runs = 0
			d.shelf.m.Rounds = policy.Attempts
			require.Equal(t, pipeline.ResultDead, d.run(t, 3, asks(time.Minute)).Result)
			require.Equal(t, 4, runs, "without delayed retries it is waited for in place")
		})
	})

	t.Run("what cannot be mended is dead at once", func(t *testing.T) {
		t.Parallel()
		d := newDelaying(policy)
		require.Equal(t, pipeline.ResultDead, d.run(t, 2, fail(pipeline.Invalid("no id"))).Result)
		require.Zero(t, d.shelf.puts)
	})

	t.Run("while the store is away the message is held", func(t *testing.T) {
		t.Parallel()
		d := newDelaying(policy)
		held := make(chan string, 1)
		d.settle.Holder = quick(held)
		d.shelf.errs = []error{store.ErrUnavailable, store.ErrUnavailable}
		require.Equal(t, pipeline.ResultDelayed, d.run(t, 0, fail(errBoom)).Result)
		require.Equal(t, 1, d.shelf.puts)
		require.Contains(t, <-held, "delay the message: store unavailable")
	})

	t.Run("what the store can take at no time is dead, and holds up nobody", func(t *testing.T) {
		t.Parallel()
		for name, cause := range map[string]error{"after a failure": errBoom, "behind another": ErrBehind} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d := newDelaying(policy)
				d.shelf.errs = []error{fmt.Errorf("delay message: %w", store.ErrInvalid)}
				outcome := d.run(t, 0, fail(cause))
				require.Equal(t, pipeline.ResultDead, outcome.Result)
				require.Equal(t, pipeline.ReasonInvalid, outcome.Reason)
				require.ErrorContains(t, outcome.Err, "delay message: invalid")
				require.Zero(t, d.shelf.puts)
				require.Empty(t, d.told)
			})
		}
	})

	t.Run("behind another of its key it waits without a story", func(t *testing.T) {
		t.Parallel()
		d := newDelaying(pipeline.Delayed{})
		outcome := d.run(t, 0, func(*message.Message) ([]*message.Message, error) { return nil, nil })
		require.Equal(t, pipeline.ResultOK, outcome.Result)
		msg, outcome, _ := incoming(t)
		_, err := d.settle.Middleware(fail(ErrBehind))(msg)
		require.NoError(t, err)
		require.Equal(t, pipeline.ResultDelayed, outcome.Result)
		require.Zero(t, outcome.Attempts)
		require.True(t, d.shelf.m.First.IsZero())
		require.Zero(t, d.shelf.m.Rounds)
		require.WithinDuration(t, time.Now(), d.shelf.m.Due, time.Minute)
	})

	t.Run("an outcome that another instance has overtaken is void: no retry, no dead letter", func(t *testing.T) {
		t.Parallel()
		for name, kind := range map[string]message.HandlerFunc{
			"success": func(*message.Message) ([]*message.Message, error) { return nil, nil },
			"failure": fail(errBoom),
			"death":   fail(pipeline.Invalid("no")),
		} {
			t.Run(name, func(t *testing.T) {
				t.Parallel()
				d := newDelaying(policy)
				msg, outcome, _ := incoming(t)
				outcome.Settling(func(pipeline.Result) pipeline.Write {
					return func(any) error { return errors.Join(errors.New("end delayed message"), store.ErrStaleToken) }
				})
				publish := Publish{Handler: "prepare", Send: d.settle.Send, Holder: quick(nil)}
				_, err := d.settle.Middleware(publish.Middleware(kind))(msg)
				require.NoError(t, err, "it is let go")
				require.Equal(t, pipeline.ResultVoid, outcome.Result)
				require.Empty(t, d.grave.letters)
				require.Zero(t, d.shelf.puts)
			})
		}
	})

	t.Run("a message that is repaired and sent again under its id is no repeat", func(t *testing.T) {
		t.Parallel()
		d := Delay{Handler: "h", Lane: func(*message.Message) string { return "" }}
		copyOf := func(payload string, offset int64) string {
			msg, _, _ := incoming(t)
			msg.Payload = []byte(payload)
			msg.SetContext(pipeline.WithOrigin(msg.Context(), &pipeline.Origin{Topic: "orders-in", Offset: offset}))
			return d.Message(msg).Copy
		}
		broken := copyOf("broken", 7)
		require.Equal(t, broken, copyOf("broken", 8), "the same again is one")
		require.NotEqual(t, broken, copyOf("repaired", 9))
	})

	t.Run("equal messages that share an id are not merged", func(t *testing.T) {
		t.Parallel()
		d := Delay{Handler: "h", Lane: func(*message.Message) string { return "" }}
		copyAt := func(offset int64) string {
			msg, _, _ := incoming(t)
			msg.Metadata.Set(pipeline.MetaIDSource, pipeline.IDSourceContent)
			msg.SetContext(pipeline.WithOrigin(msg.Context(), &pipeline.Origin{Topic: "orders-in", Offset: offset}))
			return d.Message(msg).Copy
		}
		first, again := copyAt(7), copyAt(7)
		require.Equal(t, first, again, "where it has a place, a repeat is known")
		require.NotEqual(t, first, copyAt(8))
		first, again = copyAt(-1), copyAt(-1)
		require.NotEqual(t, first, again)
	})
}

func TestSettle_ParksWhatWasReplayedTooOften(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		replays, lease string
		limit          int
		want           string
	}{
		{"", "", 2, "dlq"},
		{"1", "", 2, "dlq"},
		{"2", "", 2, "parking"},
		{"3", "", 2, "parking"},
		{"9", "", 0, "dlq"},
		{"many", "", 1, "dlq"},
		{"", "leased", 2, "parking"},
	} {
		var topic string
		s := Settle{
			Handler: "h", DeadLetter: "dlq", Parking: "parking", MaxReplays: c.limit, Holder: quick(nil), Log: quiet,
			Send: func(_ context.Context, _ *message.Message, out []Output, _ []pipeline.Write) ([]error, error) {
				topic = out[0].Topic
				if c.lease != "" {
					require.Equal(t, "2", out[0].Message.Metadata.Get(pipeline.MetaDeadReplays))
				}
				return []error{nil}, nil
			},
		}
		msg, _, _ := incoming(t)
		msg.Metadata.Set(pipeline.MetaDeadReplays, c.replays)
		if c.lease != "" {
			msg.SetContext(store.WithLease(msg.Context(), &store.Lease{DelayedMessage: store.DelayedMessage{Replays: 2}}))
		}
		_, err := s.Middleware(fail(errBoom))(msg)
		require.NoError(t, err)
		require.Equal(t, c.want, topic, c)
	}
}
