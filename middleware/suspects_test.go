package middleware

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// accused is a store that knows one suspect, and whose faults a test sets.
type accused struct {
	store.Store

	mu      sync.Mutex
	row     store.Suspect
	away    int // answers that fail
	begun   int
	ended   int
	cleared int
}

func (*accused) Home() string { return "" }

func (*accused) ExpireSuspects(context.Context, time.Time) (int, error)       { return 0, nil }
func (*accused) Suspects(context.Context, time.Time) ([]store.Suspect, error) { return nil, nil }
func (*accused) EndLife(context.Context, string, []store.Suspect) error       { return nil }

func (a *accused) Accuse(_ context.Context, key store.SuspectKey, _ string) (store.Suspect, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.away--; a.away >= 0 {
		return store.Suspect{}, store.ErrUnavailable
	}
	row := a.row
	row.SuspectKey, a.row.Life = key, "" // the other one ends its run
	return row, nil
}

func (a *accused) BeginRun(context.Context, store.SuspectKey, string, time.Duration) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.begun++; a.begun == 1 && a.row.Topic == "taken" {
		return store.ErrConflict
	}
	return nil
}

func (a *accused) EndRun(context.Context, store.SuspectKey, string) error {
	a.ended++
	return nil
}

func (a *accused) ClearSuspect(store.SuspectKey) pipeline.Write {
	return func(any) error { a.cleared++; return nil }
}

// guarded is the chain's part around the journal, down to the kind.
func guarded(t *testing.T, a *accused, held chan string, kind message.HandlerFunc) message.HandlerFunc {
	t.Helper()
	h := openJournal(t, a).Handler("prepare", "orders-in", 0)
	retry := Retry{Immediate: 1, Initial: time.Millisecond}
	return Suspects{Journal: h, Holder: quick(held)}.Middleware(retry.Middleware(Journal{Journal: h, Holder: quick(held)}.Middleware(kind)))
}

// redelivered is a message that was handed out before.
func redelivered(t *testing.T) (*message.Message, *pipeline.Outcome, context.CancelCauseFunc) {
	msg, outcome, stop := incoming(t)
	msg.SetContext(pipeline.WithOrigin(msg.Context(), &pipeline.Origin{Topic: "orders-in", Redelivered: true}))
	return msg, outcome, stop
}

// made has the writes of an outcome made.
func made(t *testing.T, o *pipeline.Outcome, r pipeline.Result) {
	t.Helper()
	for _, w := range o.Writes(r) {
		require.NoError(t, w(nil))
	}
}

func TestSuspects(t *testing.T) {
	t.Parallel()

	t.Run("a suspect is one over all its runs, and cleared with its outcome", func(t *testing.T) {
		t.Parallel()
		a := &accused{row: store.Suspect{Crashes: 1}}
		runs := 0
		run := guarded(t, a, nil, func(*message.Message) ([]*message.Message, error) {
			require.Equal(t, a.begun-1, a.ended, "the store knows that it runs")
			if runs++; runs == 1 {
				return nil, errBoom
			}
			return nil, nil
		})
		msg, outcome, _ := redelivered(t)
		_, err := run(msg)
		require.NoError(t, err)
		require.Equal(t, []int{2, 2, 2}, []int{runs, a.begun, a.ended})
		require.Zero(t, a.cleared)
		made(t, outcome, pipeline.ResultOK)
		require.Equal(t, 1, a.cleared)
	})

	t.Run("any other message asks the store nothing", func(t *testing.T) {
		t.Parallel()
		a := &accused{away: 1}
		run := guarded(t, a, nil, func(*message.Message) ([]*message.Message, error) { return nil, nil })
		msg, outcome, _ := incoming(t)
		_, err := run(msg)
		require.NoError(t, err)
		require.Empty(t, outcome.Writes(pipeline.ResultOK))
		require.Equal(t, 1, a.away)
	})

	t.Run("one that three processes died of is dead at once, and a replay begins anew", func(t *testing.T) {
		t.Parallel()
		a := &accused{row: store.Suspect{Crashes: 3, First: time.Unix(7, 0)}}
		g := &grave{}
		run := guarded(t, a, nil, func(*message.Message) ([]*message.Message, error) {
			require.Fail(t, "it ran")
			return nil, nil
		})
		msg, outcome, _ := redelivered(t)
		_, err := settle(g, quick(nil), quiet).Middleware(run)(msg)
		require.NoError(t, err)
		require.Len(t, g.letters, 1)
		letter := g.letters[0].Metadata
		require.Equal(t, "crash", letter.Get(pipeline.MetaDeadReason))
		require.Equal(t, "3", letter.Get(pipeline.MetaDeadAttempts))
		require.Equal(t, "1970-01-01T00:00:07Z", letter.Get(pipeline.MetaDeadFirst))
		require.Contains(t, letter.Get(pipeline.MetaDeadError), "the process died 3 times while prepare handled this message")
		require.Contains(t, letter.Get(pipeline.MetaDeadError), "replay the message")
		made(t, outcome, pipeline.ResultDead)
		require.Equal(t, 1, a.cleared)
	})

	t.Run("while the store is away a suspect is held and does not run", func(t *testing.T) {
		t.Parallel()
		held := make(chan string, 1)
		a := &accused{row: store.Suspect{Crashes: 1}, away: 3}
		run := guarded(t, a, held, func(*message.Message) ([]*message.Message, error) {
			require.Negative(t, a.away)
			return nil, nil
		})
		msg, _, _ := redelivered(t)
		_, err := run(msg)
		require.NoError(t, err)
		require.Contains(t, <-held, "store unavailable")
	})

	t.Run("one that another process runs waits for its end, without holding anybody", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			for _, a := range []*accused{
				{row: store.Suspect{Crashes: 1, Life: "other"}},
				{row: store.Suspect{Crashes: 1, Topic: "taken"}}, // right before this one would
			} {
				held := make(chan string, 1)
				begin, runs := time.Now(), 0
				run := guarded(t, a, held, func(*message.Message) ([]*message.Message, error) { runs++; return nil, nil })
				msg, _, _ := redelivered(t)
				_, err := run(msg)
				require.NoError(t, err)
				require.Equal(t, 1, runs)
				require.Empty(t, held)
				if a.row.Topic == "" {
					require.GreaterOrEqual(t, time.Since(begin), elsewherePause)
				}
			}
		})
	})

	t.Run("a stop gives a suspect that waits back", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			a := &accused{row: store.Suspect{Crashes: 1, Life: "other"}}
			run := guarded(t, a, nil, func(*message.Message) ([]*message.Message, error) { return nil, errors.New("it ran") })
			msg, _, stop := redelivered(t)
			stop(pipeline.ErrStopping)
			_, err := run(msg)
			require.ErrorIs(t, err, pipeline.ErrStopping)
		})
	})
}
