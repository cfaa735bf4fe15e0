package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// parked: a dead letter's message holds its key, though it is never due.
func parked(t *testing.T, h Harness) {
	s, c := h.fresh(t)
	dead := waiting(c, "dead", "a", 0)
	dead.Parked = true
	do(t, s, s.Delay(dead), s.Delay(waiting(c, "behind", "a", 0)), s.Delay(waiting(c, "b1", "b", 0)))
	c.add(1000 * time.Hour)
	leases := lease(t, s, 10)
	require.Equal(t, []string{"b1"}, names(leases))
	held := func(key string) bool {
		ok, err := s.Holds(t.Context(), "prepare", key)
		require.NoError(t, err)
		return ok
	}
	require.True(t, held("a"))
	require.True(t, held("b"), "also under lease")
	require.False(t, held("c"))
	counts, err := s.CountDelayed(t.Context())
	require.NoError(t, err)
	require.Equal(t, map[string]store.DelayedCount{"prepare": {Waiting: 2, Parked: 1}}, counts)

	// A leased one that dies is parked in its place.
	b1 := leases[0]
	b1.Parked = true
	do(t, s, s.DelayAgain(b1), s.Delay(waiting(c, "b2", "b", 0)))
	require.Empty(t, lease(t, s, 10))
	_, ok, err := s.NextDue(t.Context(), "prepare")
	require.NoError(t, err)
	require.False(t, ok, "nothing will be due by itself")

	// Sent back, it goes first, with what its letter says now.
	again := waiting(c, "dead", "", 5)
	again.Content, again.Attempts, again.Rounds, again.Replays = store.Content{Payload: []byte("edited")}, 0, 0, 4
	do(t, s, s.Requeue(again))
	require.ErrorIs(t, s.Do(t.Context(), s.Requeue(again)), store.ErrConflict, "it waits already")
	c.add(5 * time.Second)
	leases = lease(t, s, 10)
	require.Equal(t, []string{"dead"}, names(leases))
	got := leases[0]
	require.Equal(t, "edited", string(got.Payload))
	require.Empty(t, got.Headers)
	require.Equal(t, "a", got.Key, "its place is the one that it held")
	require.True(t, got.Replay)
	require.False(t, got.Parked)
	require.Equal(t, []int{0, 0, 4}, []int{got.Attempts, got.Rounds, got.Replays})
	again.Payload = []byte("edited again")
	err = s.Do(t.Context(), s.Requeue(again))
	require.ErrorIs(t, err, store.ErrConflict, "under lease: it would be lost with what ends it")
	require.ErrorContains(t, err, "still under way")
	do(t, s, s.EndDelayed(got))
	require.Equal(t, []string{"behind"}, names(lease(t, s, 10)))

	// Archived, it holds nobody any more.
	do(t, s, s.Unpark("prepare", "b1"), s.Unpark("prepare", "b1"), s.Unpark("prepare", "behind"), s.Unpark("nobody", "b1"))
	leases = lease(t, s, 10)
	require.Equal(t, []string{"b2"}, names(leases), "and what is not parked stays")
	do(t, s, s.EndDelayed(leases[0]))
	require.False(t, held("b"))

	// Sent again under its id with another key it may die in that, too. It has one
	// letter, which tells of the last.
	for _, key := range []string{"d", "e", "f"} {
		m := waiting(c, "moved", key, 0)
		m.Copy, m.Parked = key, key != "f"
		do(t, s, s.Delay(m))
	}
	again = waiting(c, "moved", "", 0)
	do(t, s, s.Requeue(again))
	leases = lease(t, s, 10)
	require.Equal(t, []string{"moved", "moved"}, names(leases))
	require.ElementsMatch(t, []string{"e", "f"}, []string{leases[0].Key, leases[1].Key})
	require.False(t, held("d"), "nobody would let it go")
	for _, l := range leases {
		l.Parked = true
		do(t, s, s.DelayAgain(l))
	}
	do(t, s, s.Unpark("prepare", "moved"))
	require.False(t, held("e"))
	require.False(t, held("f"))
	// Without a time it is due at once, by the store's clock.
	soon := waiting(c, "soon", "", 0)
	soon.Due = time.Time{}
	kept := waiting(c, "kept", "", 0)
	kept.Parked = true
	do(t, s, s.Requeue(soon), s.Delay(kept))
	kept.Due = time.Time{}
	do(t, s, s.Requeue(kept))
	leases = lease(t, s, 10)
	require.ElementsMatch(t, []string{"soon", "kept"}, names(leases))
	for _, l := range leases {
		require.Equal(t, c.Now(), l.Due)
	}

	// A letter that held no key comes as it is, behind those of its key.
	do(t, s, s.Requeue(waiting(c, "other", "a", 0)))
	require.Empty(t, lease(t, s, 10), "behind one that is under lease")
	require.True(t, held("a"))
}

// withdrawn: the message of a letter whose replay is given up.
func withdrawn(t *testing.T, h Harness) {
	s, c := h.fresh(t)
	l := letter(1)
	m := waiting(c, l.Message, "a", 0)
	do(t, s, s.Requeue(m), s.Delay(waiting(c, "behind", "a", 0)))
	do(t, s, s.Withdraw(l), s.Withdraw(l))
	leases := lease(t, s, 10)
	require.Equal(t, []string{"behind"}, names(leases), "the next of its key goes, and it does not")
	do(t, s, s.EndDelayed(leases[0]))

	do(t, s, s.Requeue(m))
	held := lease(t, s, 10)[0]
	require.ErrorIs(t, s.Do(t.Context(), s.Withdraw(l)), store.ErrConflict, "it runs")
	c.add(ttl)
	do(t, s, s.Withdraw(l)) // who had it is gone
	require.ErrorIs(t, s.Do(t.Context(), s.EndDelayed(held)), store.ErrStaleToken)

	// What is no replay stays, and of letters that share an id the other's.
	do(t, s, s.Delay(m), s.Withdraw(l))
	leases = lease(t, s, 10)
	require.Equal(t, []string{l.Message}, names(leases))
	do(t, s, s.EndDelayed(leases[0]))
	l.ID = 7
	other, own := m, m
	other.Copy, own.Copy = "replay/1/8", "replay/1/7"
	other.Letter, own.Letter = 8, 7
	do(t, s, s.Requeue(other), s.Requeue(own), s.Withdraw(l))
	left, err := s.DelayedMessages(t.Context(), "prepare", 0, 10)
	require.NoError(t, err)
	require.Len(t, left, 1)
	require.Equal(t, int64(8), left[0].Letter)
}
