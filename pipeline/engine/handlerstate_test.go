package engine

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// oneDocument is a store of it alone, whose faults a test sets.
type oneDocument struct {
	cellar
	mu      sync.Mutex
	saved   []store.SaveParams
	refuse  error
	overdue int
	asked   int
}

func (s *oneDocument) Home() string { return "" }

func (s *oneDocument) Do(_ context.Context, writes ...pipeline.Write) error {
	for _, w := range writes {
		if err := w(nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *oneDocument) Document(_ context.Context, handler, key string) (store.Document, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return store.Document{Value: []byte(handler + "/" + key), Version: int64(len(s.saved))}, nil
}

// mute is a store behind a connection whose other end is gone without a word.
type mute struct{ oneDocument }

func (*mute) Document(ctx context.Context, _, _ string) (store.Document, error) {
	<-ctx.Done()
	return store.Document{}, ctx.Err()
}

func (s *oneDocument) SaveDocument(p store.SaveParams) pipeline.Write {
	return func(any) error {
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.refuse != nil {
			err := s.refuse
			s.refuse = nil
			return err
		}
		s.saved = append(s.saved, p)
		return nil
	}
}

func (s *oneDocument) ExpireDocuments(_ context.Context, limit int) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	n := min(limit, s.overdue)
	s.overdue -= n
	return n, nil
}

func (s *oneDocument) CountDelayed(context.Context) (map[string]store.DelayedCount, error) {
	return nil, nil
}

func (s *oneDocument) NextDue(context.Context, string) (at time.Time, ok bool, err error) {
	return time.Time{}, false, nil
}

// times is how often it was asked to delete.
func (s *oneDocument) times() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.asked
}

func TestState(t *testing.T) {
	t.Parallel()

	t.Run("a kind's state is its handler's own, and is saved with the outcome, from the start again after a lost race", func(t *testing.T) {
		t.Parallel()
		s := &oneDocument{refuse: store.ErrConflict}
		runs := make(chan int64, 2)
		r := newStateRig(t, s, func(env pipeline.Env) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				value, version, err := env.State.Load(msg.Context(), "k")
				if err != nil {
					return nil, err
				}
				runs <- version
				pipeline.OutcomeOf(msg.Context()).Save(env.State.Save("k", version, value, time.Hour))
				return nil, nil
			}
		})
		r.start(t)
		r.send("m")
		require.Equal(t, "m", <-r.fake.acked)
		require.Len(t, runs, 2)
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Equal(t, []store.SaveParams{{Handler: "work", Key: "k", Value: []byte("work/k"), Keep: time.Hour}}, s.saved)
		require.Empty(t, r.fake.on("in.work.dlq"))
	})

	t.Run("a store that does not answer is away, before the handler's time is over", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			for timeout, within := range map[time.Duration]time.Duration{0: loadAtMost, time.Minute: loadAtMost, time.Second: time.Second / 2} {
				state := (&Engine{opts: Options{Store: &mute{}}}).stateOf(pipeline.Handler{Name: "work", Timeout: timeout})
				began := time.Now()
				_, _, err := state.Load(t.Context(), "k")
				require.ErrorIs(t, err, store.ErrUnavailable)
				require.Equal(t, within, time.Since(began))
			}
		})
	})

	t.Run("a message whose kind runs out of time while it loads is not the store's fault", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
			defer cancel()
			_, _, err := (&Engine{opts: Options{Store: &mute{}}}).stateOf(pipeline.Handler{}).Load(ctx, "k")
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.NotErrorIs(t, err, store.ErrUnavailable)
		})
	})

	t.Run("of a run that failed nothing is saved", func(t *testing.T) {
		t.Parallel()
		s := &oneDocument{}
		r := newStateRig(t, s, func(env pipeline.Env) message.HandlerFunc {
			return func(msg *message.Message) ([]*message.Message, error) {
				pipeline.OutcomeOf(msg.Context()).Save(env.State.Save("k", 0, nil, 0))
				return nil, pipeline.Permanent(errors.New("no"))
			}
		})
		r.start(t)
		r.send("m")
		require.Equal(t, "m", <-r.fake.acked)
		require.Len(t, r.fake.on("in.work.dlq"), 1)
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Empty(t, s.saved)
	})

	t.Run("without a store there is none", func(t *testing.T) {
		t.Parallel()
		e := &Engine{}
		require.Nil(t, e.stateOf(pipeline.Handler{Name: "work"}))
	})

	t.Run("what is out of date goes, in chunks, at the start and every ten minutes", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &oneDocument{overdue: 2*store.MaxPage + 1}
			e := &Engine{opts: Options{Store: s}, log: slog.New(slog.DiscardHandler)}
			e.life, e.giveUp = context.WithCancel(context.Background())
			e.tasks.Go(e.expire)
			synctest.Wait()
			require.Equal(t, 3, s.times())
			<-time.After(expireEvery)
			synctest.Wait()
			require.Equal(t, 4, s.times())
			e.giveUp()
			e.tasks.Wait()
			require.Zero(t, s.overdue)
		})
	})
}

// newStateRig is a rig with a store, and a kind that is made with its Env.
func newStateRig(t *testing.T, s store.Store, kind func(pipeline.Env) message.HandlerFunc) *rig {
	t.Helper()
	r := &rig{fake: newFake(), metrics: prometheus.NewRegistry()}
	e, err := New(Options{
		Pipeline: pipeline.Pipeline{
			ShutdownTimeout: 10 * time.Second,
			Topics: map[string]pipeline.Topic{
				"in": {Name: "in", Broker: "main"}, "in.work.dlq": {Name: "in.work.dlq", Broker: "main"},
			},
			Handlers: []pipeline.Handler{{
				Name: "work", Kind: "test", From: "in", DeadLetter: "in.work.dlq", Concurrency: 1, InFlight: 1, Ordering: pipeline.OrderingNone,
			}},
		},
		Kinds: pipeline.NewKinds(pipeline.Kind{
			Name: "test", NewConfig: func() any { return nil },
			New: func(env pipeline.Env, _ any) (message.HandlerFunc, error) { return kind(env), nil },
		}),
		Brokers: map[string]broker.Broker{"main": r.fake},
		Store:   s,
		Log:     slog.New(slog.DiscardHandler),
		Metrics: r.metrics,
	})
	require.NoError(t, err)
	r.Engine = e
	return r
}
