package storetest

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

func groups(t *testing.T, h Harness) {
	t.Run("CountsFollowEveryChange", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		var letters []store.DeadLetter
		for n := range 9 {
			letters = append(letters, bury(t, s, letter(n))...)
		}
		other := letter(3)
		other.Handler = "mail"
		bury(t, s, other)
		do(t, s, s.MoveLetter(store.Move{ID: letters[0].ID, To: store.Replaying}),
			s.MoveLetter(store.Move{ID: letters[3].ID, To: store.Archived}),
			s.CloseLetter("prepare", "m-6", 0))
		moved := letter(1)
		moved.Copy, moved.Fingerprint = "again", "f-2"
		bury(t, s, moved)

		all, err := s.Groups(t.Context(), store.GroupQuery{})
		require.NoError(t, err)
		require.Len(t, all, 4)
		counts := make(map[string]map[store.State]int64)
		for _, g := range all {
			counts[g.Handler+" "+g.Fingerprint] = g.Counts
		}
		none := map[store.State]int64{store.Dead: 0, store.Replaying: 0, store.Archived: 0, store.Completed: 0}
		with := func(counts map[store.State]int64) map[store.State]int64 {
			full := make(map[store.State]int64)
			for s := range none {
				full[s] = counts[s]
			}
			return full
		}
		require.Equal(t, map[string]map[store.State]int64{
			"prepare f-0": with(map[store.State]int64{store.Replaying: 1, store.Archived: 1, store.Completed: 1}),
			"prepare f-1": with(map[store.State]int64{store.Dead: 2}),
			"prepare f-2": with(map[store.State]int64{store.Dead: 4}),
			"mail f-0":    with(map[store.State]int64{store.Dead: 1}),
		}, counts)
		require.Equal(t, letter(8).Last, all[0].Last, "the latest first")
		require.Equal(t, letter(1).First, all[0].First)

		byHandler, err := s.LetterCounts(t.Context())
		require.NoError(t, err)
		require.Equal(t, map[store.State]int64{store.Dead: 1}, byHandler["mail"])
		require.Equal(t, map[store.State]int64{store.Dead: 6, store.Replaying: 1, store.Archived: 1, store.Completed: 1}, byHandler["prepare"])

		mail, err := s.Groups(t.Context(), store.GroupQuery{Handler: "mail"})
		require.NoError(t, err)
		require.Len(t, mail, 1)
	})

	t.Run("ErrorIsThatOfTheLastDeath", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		older := bury(t, s, letter(0), letter(3))[0]
		do(t, s, s.MoveLetter(store.Move{ID: older.ID, To: store.Archived}))
		require.NoError(t, s.NoteLetter(t.Context(), older.ID, "a test order"))
		all, err := s.Groups(t.Context(), store.GroupQuery{All: true})
		require.NoError(t, err)
		require.Len(t, all, 1)
		require.Equal(t, letter(3).Error, all[0].Error)

		again := letter(0)
		again.Copy, again.Error, again.Last = "again", "call warehouse: 504", letter(4).Last
		bury(t, s, again)
		all, err = s.Groups(t.Context(), store.GroupQuery{All: true})
		require.NoError(t, err)
		require.Equal(t, again.Error, all[0].Error)
		require.Equal(t, again.Last, all[0].Last)
	})

	t.Run("ByHeaderOrPointer", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 10 {
			bury(t, s, letter(n))
		}
		odd := letter(10)
		odd.Payload, odd.Headers = []byte("no JSON \xff"), nil
		bury(t, s, odd)
		by, err := s.GroupBy(t.Context(), store.Filter{}, store.By{Header: "tenant"})
		require.NoError(t, err)
		got := make(map[string]int64)
		for _, g := range by {
			require.Equal(t, g.Value == "", g.Missing)
			got[g.Value] = g.Count
		}
		require.Equal(t, map[string]int64{"t-0": 3, "t-1": 3, "t-2": 2, "t-3": 2, "": 1}, got)

		by, err = s.GroupBy(t.Context(), store.Not(store.Is(store.FieldKey, "k-0")), store.By{Pointer: "/lines/0/sku"})
		require.NoError(t, err)
		got = make(map[string]int64)
		for _, g := range by {
			got[g.Value] = g.Count
		}
		require.Equal(t, map[string]int64{"s-1": 2, "s-2": 1, "s-3": 2, "s-4": 2, "s-0": 1, "": 1}, got)
		_, err = s.GroupBy(t.Context(), store.Filter{}, store.By{})
		require.ErrorIs(t, err, store.ErrInvalid)
	})
}
