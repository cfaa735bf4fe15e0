package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func entries(t *testing.T, s store.Store, q store.AuditQuery) []store.AuditEntry {
	t.Helper()
	page, err := s.AuditEntries(t.Context(), q)
	require.NoError(t, err)
	return page.Entries
}

func audit(t *testing.T, h Harness) {
	t.Run("KeptWhole", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		filter := store.And(store.Is(store.FieldHandler, "prepare"), store.Not(store.Filter{Field: store.FieldPointer, Name: "/a", Op: store.Exists}))
		want := []store.AuditEntry{
			{Actor: "ada", Action: "archive", Why: "a test order", On: []int64{3, 9_007_199_254_740_993}, Count: 2, Detail: "until Friday"},
			{Actor: "ada\xff\x00", Action: "replay", Filter: &filter, Count: 4000, Operation: "run-1"},
		}
		for i := range want {
			do(t, s, s.Record(want[i]))
			want[i].ID, want[i].At = int64(i+1), c.Now()
			c.add(time.Minute)
		}
		want[1].Actor = "ada\uFFFD\uFFFD"
		require.Equal(t, []store.AuditEntry{want[1], want[0]}, entries(t, s, store.AuditQuery{}))
		require.Equal(t, want[:1], entries(t, s, store.AuditQuery{Actor: "ada"}))
		require.Equal(t, want[1:], entries(t, s, store.AuditQuery{Action: "replay"}))
		require.Equal(t, want[1:], entries(t, s, store.AuditQuery{Since: want[1].At}))
		for _, e := range []store.AuditEntry{{Actor: "ada"}, {Action: "edit"}} {
			require.ErrorIs(t, s.Do(t.Context(), s.Record(e)), store.ErrInvalid)
		}
	})

	t.Run("OneEntryAnOperation", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 3 {
			do(t, s, s.Record(store.AuditEntry{Operation: "bulk", Actor: "ada", Action: "archive", Count: n + 1}),
				s.Record(store.AuditEntry{Actor: "ada", Action: "edit", Count: 1}))
		}
		all := entries(t, s, store.AuditQuery{})
		require.Len(t, all, 4)
		require.Equal(t, 6, entries(t, s, store.AuditQuery{Action: "archive"})[0].Count)
	})

	t.Run("PagesNewestFirst", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 7 {
			do(t, s, s.Record(store.AuditEntry{Actor: "ada", Action: "edit", Count: n}))
		}
		var counts []int
		q := store.AuditQuery{Limit: 3}
		for {
			page, err := s.AuditEntries(t.Context(), q)
			require.NoError(t, err)
			for _, e := range page.Entries {
				counts = append(counts, e.Count)
			}
			do(t, s, s.Record(store.AuditEntry{Actor: "ada", Action: "edit", Count: 100})) // on no later page
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		require.Equal(t, []int{6, 5, 4, 3, 2, 1, 0}, counts)
		_, err := s.AuditEntries(t.Context(), store.AuditQuery{Cursor: "???"})
		require.ErrorIs(t, err, store.ErrInvalid)
	})

	t.Run("JoinsTheChangeItTellsOf", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		l := bury(t, s, letter(1), letter(2), letter(3))[0]
		broken := errors.New("broken")
		fails := func(any) error { return broken }
		told := s.Record(store.AuditEntry{Actor: "ada", Action: "change"})

		_, err := s.EditLetter(t.Context(), l.ID, l.Version, store.Content{Payload: []byte("x")}, told, fails)
		require.ErrorIs(t, err, broken)
		require.ErrorIs(t, s.NoteLetter(t.Context(), l.ID, "x", told, fails), broken)
		require.ErrorIs(t, s.NoteGroup(t.Context(), l.Handler, l.Fingerprint, "x", told, fails), broken)
		move := store.MoveAll{Filter: store.Is(store.FieldMessage, l.Message), From: store.Dead, To: store.Archived}
		move.With = func([]store.DeadLetter) []pipeline.Write { return []pipeline.Write{told, fails} }
		_, err = s.MoveLetters(t.Context(), move)
		require.ErrorIs(t, err, broken)
		got, err := s.Letter(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, l, got, "neither the change")
		require.Empty(t, entries(t, s, store.AuditQuery{}), "nor its entry")

		version, err := s.EditLetter(t.Context(), l.ID, l.Version, store.Content{Payload: []byte("x")}, told)
		require.NoError(t, err)
		_, err = s.EditLetter(t.Context(), l.ID, l.Version, store.Content{}, told)
		require.ErrorIs(t, err, store.ErrConflict, "who lost the race leaves no entry")
		require.NoError(t, s.NoteLetter(t.Context(), l.ID, "x", told))
		require.ErrorIs(t, s.NoteLetter(t.Context(), 1<<40, "x", told), store.ErrNotFound)
		require.NoError(t, s.NoteGroup(t.Context(), l.Handler, l.Fingerprint, "x", told))
		require.Equal(t, l.Version+1, version)
		require.Len(t, entries(t, s, store.AuditQuery{}), 3)
	})

	t.Run("AMoveTellsWhatItMoved", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		bury(t, s, letter(1), letter(2), letter(3))
		calls := 0
		move := store.MoveAll{Filter: store.Not(store.Is(store.FieldMessage, "m-2")), From: store.Dead, To: store.Archived}
		move.With = func(moved []store.DeadLetter) []pipeline.Write {
			calls++
			var ids []string
			for _, l := range moved {
				require.Equal(t, store.Archived, l.State)
				require.Equal(t, int64(2), l.Version)
				require.Empty(t, l.Payload)
				ids = append(ids, fmt.Sprint(l.Message, l.Key))
			}
			require.ElementsMatch(t, []string{"m-1k-1", "m-3k-3"}, ids)
			return []pipeline.Write{s.Record(store.AuditEntry{Actor: "ada", Action: "archive", Count: len(moved)})}
		}
		n, err := s.MoveLetters(t.Context(), move)
		require.NoError(t, err)
		require.Equal(t, 2, n)
		n, err = s.MoveLetters(t.Context(), move)
		require.NoError(t, err)
		require.Zero(t, n)
		require.Equal(t, 1, calls)
		require.Equal(t, 2, entries(t, s, store.AuditQuery{})[0].Count)
	})
}
