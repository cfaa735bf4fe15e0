package journal

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/sqlitestore"
)

// stand is a store and the lives of a process that use it.
type stand struct {
	store store.Store
	file  string
}

func newStand(t *testing.T) *stand {
	t.Helper()
	dir := t.TempDir()
	s, err := sqlitestore.Open(t.Context(), filepath.Join(dir, "waybill.db"), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return &stand{store: s, file: filepath.Join(dir, "slots")}
}

// live begins a life.
func (s *stand) live(t *testing.T) *Journal {
	t.Helper()
	j, err := Open(t.Context(), Options{File: s.file, Slots: 8, Store: s.store, Log: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { _ = j.Close(context.Background()) }) // tests that care have closed it
	return j
}

// die makes what is in the file now that of a process that was killed.
func (s *stand) die(t *testing.T) {
	t.Helper()
	text, err := os.ReadFile(s.file)
	require.NoError(t, err)
	s.file = filepath.Join(t.TempDir(), "slots")
	require.NoError(t, os.WriteFile(s.file, text, 0o600))
}

func (s *stand) rows(t *testing.T) map[string]int {
	t.Helper()
	all, err := s.store.Suspects(t.Context(), time.Time{})
	require.NoError(t, err)
	crashes := make(map[string]int)
	for _, r := range all {
		crashes[r.Message] = r.Crashes
	}
	return crashes
}

func incoming(t *testing.T, id string, o pipeline.Origin) *message.Message {
	return message.NewMessageWithContext(pipeline.WithOrigin(t.Context(), &o), id, []byte(id))
}

var redelivered = pipeline.Origin{Topic: "in", Redelivered: true}

func TestJournal(t *testing.T) {
	t.Parallel()

	t.Run("what runs when the process dies is suspect, a crash beside others and two alone are three", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		h := s.live(t).Handler("work", "in", 0)
		bad, good := incoming(t, "bad", redelivered), incoming(t, "good", redelivered)
		require.True(t, h.Run(t.Context(), bad, func() {
			require.True(t, h.Run(t.Context(), good, func() { s.die(t) }))
		}))
		for crashes := 1; crashes < MaxCrashes; crashes++ {
			h = s.live(t).Handler("work", "in", 0)
			require.Equal(t, crashes, s.rows(t)["bad"])
			require.Nil(t, h.Suspect(incoming(t, "other", redelivered)), "it was in hand and did not run")
			if crashes == 1 {
				innocent := h.Suspect(good)
				require.NoError(t, innocent.Check(t.Context(), &pipeline.Outcome{}))
				ran, err := innocent.Run(t.Context(), good, func() {})
				require.True(t, ran)
				require.NoError(t, err)
				require.NoError(t, s.store.Do(t.Context(), innocent.Settle(pipeline.ResultOK)))
				innocent.Done()
			}
			suspect := h.Suspect(bad)
			require.NotNil(t, suspect)
			require.NoError(t, suspect.Check(t.Context(), &pipeline.Outcome{}))
			ran, err := suspect.Run(t.Context(), bad, func() { s.die(t) })
			require.True(t, ran)
			require.NoError(t, err)
			require.NoError(t, s.store.BeginRun(t.Context(), suspect.key, suspect.journal.life, lease), "as the row of a process that was killed")
		}
		h = s.live(t).Handler("work", "in", 0)
		require.Equal(t, map[string]int{"bad": 3}, s.rows(t))
		var outcome pipeline.Outcome
		suspect := h.Suspect(bad)
		err := suspect.Check(t.Context(), &outcome)
		require.True(t, pipeline.IsPermanent(err))
		require.Equal(t, pipeline.ReasonCrash, pipeline.ReasonOf(err))
		require.ErrorContains(t, err, "the process died 3 times while work handled this message")
		require.Equal(t, 3, outcome.Attempts)
		require.False(t, outcome.First.IsZero())
		require.NoError(t, s.store.Do(t.Context(), suspect.Settle(pipeline.ResultDead)))
		require.Nil(t, h.Suspect(bad), "a replay begins anew")
	})

	t.Run("a suspect that waits for its turn is not counted when another kills the process", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		h := s.live(t).Handler("work", "in", 0)
		first, second := h.Suspect(incoming(t, "1", redelivered)), h.Suspect(incoming(t, "2", redelivered))
		for _, suspect := range []*Suspect{first, second} {
			require.NoError(t, suspect.Check(t.Context(), &pipeline.Outcome{}))
		}
		waits, enough := context.WithCancel(t.Context())
		waited := make(chan bool)
		ran, err := first.Run(t.Context(), incoming(t, "1", redelivered), func() {
			go func() {
				ran, _ := second.Run(waits, incoming(t, "2", redelivered), func() {})
				waited <- ran
			}()
			require.ErrorIs(t, s.store.BeginRun(t.Context(), first.key, "other", lease), store.ErrConflict)
			enough()
			require.False(t, <-waited)
			s.die(t)
		})
		require.True(t, ran)
		require.NoError(t, err)
		require.NoError(t, s.store.BeginRun(t.Context(), first.key, first.journal.life, lease))
		s.live(t)
		require.Equal(t, map[string]int{"1": 2, "2": 1}, s.rows(t))
	})

	t.Run("a stop in order is no crash, also of what it cut short", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		j := s.live(t)
		h := j.Handler("work", "in", 0)
		suspect := h.Suspect(incoming(t, "alone", redelivered))
		require.NoError(t, suspect.Check(t.Context(), &pipeline.Outcome{}))
		ran, err := suspect.Run(t.Context(), incoming(t, "alone", redelivered), func() {
			require.NoError(t, j.Close(t.Context()))
			s.die(t)
		})
		require.True(t, ran)
		require.NoError(t, err)
		j = s.live(t)
		require.Equal(t, map[string]int{"alone": 1}, s.rows(t), "it was handed out before, and that is all that is known")
		h = j.Handler("work", "in", 0)
		require.True(t, h.Run(t.Context(), incoming(t, "beside", pipeline.Origin{}), func() {
			require.NoError(t, j.Close(t.Context()))
			s.die(t)
		}))
		s.live(t)
		require.Equal(t, map[string]int{"alone": 1}, s.rows(t))
	})

	t.Run("a message that was handed out before is suspect where the file cannot tell, unless it came back to this process", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		j := s.live(t)
		h := j.Handler("work", "in", 0)
		require.Nil(t, h.Suspect(incoming(t, "new", pipeline.Origin{Topic: "in"})))
		require.Nil(t, h.Suspect(incoming(t, "back", pipeline.Origin{Topic: "in", Redelivered: true, Returned: true})))
		require.NotNil(t, h.Suspect(incoming(t, "again", redelivered)), "there was no file")
		require.NoError(t, j.Close(t.Context()))
		require.Nil(t, s.live(t).Handler("work", "in", 0).Suspect(incoming(t, "again", redelivered)), "it did not run when the process before ended")
	})

	t.Run("ids of any length, and none", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		h := s.live(t).Handler("work", "in", 0)
		long, none := incoming(t, strings.Repeat("x", 300), redelivered), incoming(t, "", redelivered)
		require.True(t, h.Run(t.Context(), long, func() {
			require.True(t, h.Run(t.Context(), none, func() { s.die(t) }))
		}))
		h = s.live(t).Handler("work", "in", 0)
		require.Len(t, s.rows(t), 2)
		require.NotNil(t, h.Suspect(long))
		require.NotNil(t, h.Suspect(none))
		require.Nil(t, h.Suspect(incoming(t, strings.Repeat("x", 301), redelivered)))
	})

	t.Run("one process a file", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		j := s.live(t)
		_, err := Open(t.Context(), Options{File: s.file, Slots: 1, Store: s.store, Log: slog.New(slog.DiscardHandler)})
		require.ErrorContains(t, err, "another waybill may run on this data folder")
		require.NoError(t, j.Close(t.Context()))
		s.live(t)
	})

	t.Run("a file that is none of ours is written anew, and one that another store cannot record stays", func(t *testing.T) {
		t.Parallel()
		s := newStand(t)
		require.NoError(t, os.WriteFile(s.file, []byte("garbage"), 0o600))
		j := s.live(t)
		require.False(t, j.sure)
		require.True(t, j.Handler("work", "in", 0).Run(t.Context(), incoming(t, "bad", pipeline.Origin{}), func() { s.die(t) }))
		_, err := Open(t.Context(), Options{File: s.file, Slots: 1, Store: away{s.store}, Log: slog.New(slog.DiscardHandler)})
		require.ErrorIs(t, err, errAway)
		s.live(t)
		require.Equal(t, map[string]int{"bad": 1}, s.rows(t))
	})
}

var errAway = errors.New("away")

// away is a store that cannot record the end of a life.
type away struct{ store.Store }

func (away) EndLife(context.Context, string, []store.Suspect) error { return errAway }
