package storetest

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// selectAll freezes what matches.
func selectAll(t testing.TB, s store.Store, f store.Filter) store.Selection {
	t.Helper()
	sel, err := s.Select(t.Context(), store.Selection{Filter: f, By: "ada"})
	require.NoError(t, err)
	return sel
}

func messagesOf(letters []store.DeadLetter) []string {
	var ids []string
	for _, l := range letters {
		ids = append(ids, l.Message)
	}
	return ids
}

func selections(t *testing.T, h Harness) {
	t.Run("WhatDiesLaterIsNotInIt", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		bury(t, s, letter(1), letter(2), letter(3))
		other := letter(4)
		other.Handler, other.Topic = "mail", "emails"
		bury(t, s, other)
		want := selectAll(t, s, store.Not(store.Is(store.FieldMessage, "m-2")))
		require.Equal(t, int64(3), want.Count)
		require.Equal(t, []store.Tally{{Name: "prepare", Count: 2}, {Name: "mail", Count: 1}}, want.ByHandler)
		require.Equal(t, []store.Tally{{Name: "orders-in", Count: 2}, {Name: "emails", Count: 1}}, want.ByTopic)
		require.Equal(t, want.At, c.Now())

		bury(t, s, letter(5))
		got, err := s.Selection(t.Context(), want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		letters, err := s.SelectedLetters(t.Context(), want.ID, 100)
		require.NoError(t, err)
		require.Equal(t, []string{"m-4", "m-1", "m-3"}, messagesOf(letters))
		require.NotEmpty(t, letters[0].Payload)
		letters, err = s.SelectedLetters(t.Context(), want.ID, 1)
		require.NoError(t, err)
		require.Len(t, letters, 1)
		_, err = s.Selection(t.Context(), want.ID+1)
		require.ErrorIs(t, err, store.ErrNotFound)
	})

	t.Run("InTheOrderInWhichTheyWereRead", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for _, place := range [][2]int64{{1, 7}, {0, 9}, {1, 5}, {0, 10}} {
			l := letter(int(place[0]*100 + place[1]))
			l.Partition, l.Offset = int32(place[0]), place[1] //nolint:gosec // small
			do(t, s, s.Bury(l))
		}
		for n := range 3 { // from a broker without offsets: in the order in which they came
			l := letter(900 - n)
			l.Topic, l.Partition, l.Offset = "rabbit", 0, -1
			do(t, s, s.Bury(l))
		}
		letters, err := s.SelectedLetters(t.Context(), selectAll(t, s, store.Filter{}).ID, 100)
		require.NoError(t, err)
		require.Equal(t, []string{"m-9", "m-10", "m-105", "m-107", "m-900", "m-899", "m-898"}, messagesOf(letters))
	})

	t.Run("OnlyTheDead", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		letters := bury(t, s, letter(1), letter(2), letter(3))
		parked := letter(4)
		parked.Parked = true
		bury(t, s, parked)
		do(t, s, s.MoveLetter(store.Move{ID: letters[0].ID, To: store.Archived}))
		sel := selectAll(t, s, store.Filter{})
		require.Equal(t, int64(3), sel.Count)
		require.Equal(t, int64(1), sel.Parked)

		named, err := s.Select(t.Context(), store.Selection{Named: []int64{letters[2].ID, letters[1].ID}})
		require.NoError(t, err)
		got, err := s.Selection(t.Context(), named.ID)
		require.NoError(t, err)
		require.Equal(t, []int64{letters[1].ID, letters[2].ID}, got.Named)
		require.Equal(t, int64(2), got.Count)

		_, err = s.Select(t.Context(), store.Selection{Named: []int64{letters[1].ID, letters[0].ID}})
		require.ErrorIs(t, err, store.ErrConflict)
		require.ErrorContains(t, err, fmt.Sprintf("letter %d is ARCHIVED", letters[0].ID))
		_, err = s.Select(t.Context(), store.Selection{Named: []int64{letters[1].ID, 999}})
		require.ErrorIs(t, err, store.ErrNotFound)
		require.ErrorContains(t, err, "999")
		for _, wrong := range []store.Selection{
			{Named: []int64{letters[1].ID, letters[1].ID}},
			{Named: make([]int64, store.MaxNamed+1)},
			{Filter: store.Is("nonsense", "x")},
		} {
			_, err = s.Select(t.Context(), wrong)
			require.ErrorIs(t, err, store.ErrInvalid)
		}
	})

	t.Run("OfNone", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		sel := selectAll(t, s, store.Filter{})
		require.Zero(t, sel.Count)
		_, err := s.Selection(t.Context(), sel.ID)
		require.NoError(t, err)
	})
}
