package journal

import (
	"context"
	"log/slog"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// clerk is a store in memory that takes whatever it is told, so that it can be
// used within synctest's time.
type clerk struct {
	store.Store
	mu   sync.Mutex
	rows []store.Suspect
}

func (*clerk) Home() string { return "" }

func (c *clerk) Suspects(context.Context, time.Time) ([]store.Suspect, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.rows), nil
}

func (c *clerk) Accuse(_ context.Context, key store.SuspectKey, _ string) (store.Suspect, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.rows = append(c.rows, store.Suspect{SuspectKey: key, Crashes: 1})
	return c.rows[len(c.rows)-1], nil
}

func (*clerk) ExpireSuspects(context.Context, time.Time) (int, error) { return 0, nil }

func (*clerk) EndLife(context.Context, string, []store.Suspect) error { return nil }

func (*clerk) EndRun(context.Context, store.SuspectKey, string) error { return nil }

func (*clerk) BeginRun(context.Context, store.SuspectKey, string, time.Duration) error { return nil }

func (*clerk) ExtendRun(context.Context, store.SuspectKey, string, time.Duration) error { return nil }

// silent is a store whose first answer to ExtendRun never comes.
type silent struct {
	clerk
	asked int
	until atomic.Int64 // Unix nanoseconds: how long the run is believed in
}

func (s *silent) BeginRun(_ context.Context, _ store.SuspectKey, _ string, ttl time.Duration) error {
	s.until.Store(time.Now().Add(ttl).UnixNano())
	return nil
}

func (s *silent) ExtendRun(ctx context.Context, _ store.SuspectKey, _ string, ttl time.Duration) error {
	if s.asked++; s.asked == 1 {
		<-ctx.Done()
		return ctx.Err()
	}
	s.until.Store(time.Now().Add(ttl).UnixNano())
	return nil
}

// open begins a life that ends before the test's bubble does.
func open(t *testing.T, s store.Store) *Journal {
	t.Helper()
	j, err := Open(t.Context(), Options{File: filepath.Join(t.TempDir(), "slots"), Slots: 8, Store: s, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, j.Close(context.Background())) })
	return j
}

func TestSuspect(t *testing.T) {
	t.Parallel()

	t.Run("it is one until its outcome is written, however often that is prepared", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		h := s.live(t).Handler("work", "in", 0)
		bad := incoming(t, "bad", pipeline.Origin{Redelivered: true, Returned: true}) // only the memory tells
		require.Nil(t, h.Suspect(bad))
		suspect := h.Suspect(incoming(t, "bad", redelivered))
		require.NoError(t, suspect.Check(t.Context(), &pipeline.Outcome{}))
		suspect.Settle(pipeline.ResultOK)
		write := suspect.Settle(pipeline.ResultDelayed)
		require.NotNil(t, h.Suspect(bad), "the outcome was not certain")
		require.NoError(t, s.store.Do(t.Context(), write))
		require.Nil(t, h.Suspect(bad))
	})

	t.Run("one that hangs stops the others no longer than its handler's timeout allows, and is named", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			j := open(t, &clerk{})
			for timeout, wait := range map[time.Duration]time.Duration{0: patience, time.Second: patience, time.Hour: time.Hour + askTimeout} {
				h := j.Handler("work", "in", timeout)
				bad := incoming(t, "bad", redelivered)
				suspect := h.Suspect(bad)
				begin, hangs, over := time.Now(), make(chan struct{}), make(chan struct{})
				go func() {
					defer close(over)
					_, _ = suspect.Run(t.Context(), bad, func() { <-hangs })
				}()
				synctest.Wait()
				require.Empty(t, j.Hanging())
				require.True(t, j.Handler("other", "out", 0).Run(t.Context(), incoming(t, "good", redelivered), func() {}))
				require.Equal(t, wait, time.Since(begin))
				require.Equal(t, []store.SuspectKey{{Handler: "work", Message: "bad"}}, j.Hanging())
				close(hangs)
				<-over
				require.Empty(t, j.Hanging())
			}
		})
	})

	t.Run("an answer that does not come keeps no other from telling that it runs", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &silent{}
			h := open(t, s).Handler("work", "in", 0)
			bad := incoming(t, "bad", redelivered)
			ran, err := h.Suspect(bad).Run(t.Context(), bad, func() {
				for range 30 {
					time.Sleep(time.Second) //nolint:forbidigo // synctest's time
					synctest.Wait()
					require.Greater(t, s.until.Load(), time.Now().UnixNano())
				}
			})
			require.True(t, ran)
			require.NoError(t, err)
		})
	})

	t.Run("those that came to an end elsewhere are forgotten, and cost the others nothing", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &clerk{rows: []store.Suspect{{SuspectKey: store.SuspectKey{Handler: "work", Message: "there"}}}}
			j := open(t, s)
			h := j.Handler("work", "in", 0)
			require.NotNil(t, h.Suspect(incoming(t, "gone", redelivered)), "and another instance has it then")
			late := h.Suspect(incoming(t, "late", redelivered))
			time.Sleep(tidyEvery) //nolint:forbidigo // synctest's time
			synctest.Wait()
			returned := pipeline.Origin{Redelivered: true, Returned: true} // only the memory tells
			require.NotNil(t, h.Suspect(incoming(t, "there", returned)))
			require.Nil(t, h.Suspect(incoming(t, "gone", returned)))

			require.NoError(t, late.Check(t.Context(), &pipeline.Outcome{}))
			time.Sleep(tidyEvery) //nolint:forbidigo // synctest's time
			synctest.Wait()
			require.NotNil(t, h.Suspect(incoming(t, "late", returned)))

			s.mu.Lock()
			s.rows = nil
			s.mu.Unlock()
			time.Sleep(tidyEvery) //nolint:forbidigo // synctest's time
			synctest.Wait()
			require.Zero(t, j.suspects.size.Load())
		})
	})

	t.Run("a suspect that comes while the store is asked stays, and all do where there may be more than it tells", func(t *testing.T) {
		t.Parallel()
		var k known
		k.add(store.SuspectKey{Message: "before"})
		number := k.latest()
		k.add(store.SuspectKey{Message: "since"})
		k.keep(nil, number)
		require.Equal(t, []store.SuspectKey{{Message: "since"}}, k.all())
		j := open(t, &clerk{rows: make([]store.Suspect, store.MaxPage)})
		j.suspects.add(store.SuspectKey{Message: "beyond"})
		require.NoError(t, j.tidyOnce(t.Context()))
		require.True(t, j.suspects.has(store.SuspectKey{Message: "beyond"}))
	})
}
