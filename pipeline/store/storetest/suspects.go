package storetest

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

func suspects(t *testing.T, h Harness) {
	key := store.SuspectKey{Handler: "prepare", Message: "m-1\x00"}
	ran := store.Suspect{SuspectKey: key, Topic: "orders-in"}

	accuse := func(t *testing.T, s store.Store) store.Suspect {
		t.Helper()
		suspect, err := s.Accuse(t.Context(), key, "orders-in")
		require.NoError(t, err)
		return suspect
	}
	list := func(t *testing.T, s store.Store) []store.Suspect {
		t.Helper()
		all, err := s.Suspects(t.Context(), time.Time{})
		require.NoError(t, err)
		return all
	}

	t.Run("WhatRanInALifeThatEnded", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		require.NoError(t, s.EndLife(t.Context(), "a", []store.Suspect{ran, {SuspectKey: store.SuspectKey{Handler: "mail", Message: "m-1\x00"}}}))
		require.NoError(t, s.EndLife(t.Context(), "a", []store.Suspect{ran}), "a repeat")
		all := list(t, s)
		require.Len(t, all, 2, "a suspect of one handler is none of another")
		want := store.Suspect{SuspectKey: key, Topic: "orders-in", Crashes: 1, First: c.Now(), Last: c.Now()}
		require.Contains(t, all, want, "counted once")
		do(t, s, s.ClearSuspect(key), s.ClearSuspect(key))
		require.Len(t, list(t, s), 1)
	})

	t.Run("ACrashAloneIsCountedOnce", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		require.Equal(t, 1, accuse(t, s).Crashes)
		require.Equal(t, 1, accuse(t, s).Crashes, "to be handed out is no crash")
		require.NoError(t, s.BeginRun(t.Context(), key, "a", ttl))
		require.NoError(t, s.BeginRun(t.Context(), key, "a", ttl), "the same process again")
		c.add(time.Second)
		require.NoError(t, s.EndLife(t.Context(), "a", []store.Suspect{ran}))
		require.NoError(t, s.EndLife(t.Context(), "a", []store.Suspect{ran}))
		c.add(ttl)
		got := accuse(t, s)
		require.Equal(t, 2, got.Crashes)
		require.Empty(t, got.Life)
		require.Equal(t, time.Second, got.Last.Sub(got.First))

		require.NoError(t, s.BeginRun(t.Context(), key, "b", ttl))
		c.add(ttl)
		require.Equal(t, 3, accuse(t, s).Crashes, "noticed by another instance, which got the message")
		require.Equal(t, 3, accuse(t, s).Crashes)
		require.NoError(t, s.EndLife(t.Context(), "b", []store.Suspect{ran}))
		require.Equal(t, 3, accuse(t, s).Crashes, "and not again by the process itself")
	})

	t.Run("OneRunsItAtATime", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		accuse(t, s)
		require.NoError(t, s.BeginRun(t.Context(), key, "a", ttl))
		c.add(ttl / 2)
		require.NoError(t, s.ExtendRun(t.Context(), key, "a", ttl))
		c.add(ttl / 2)
		require.ErrorIs(t, s.BeginRun(t.Context(), key, "b", ttl), store.ErrConflict)
		got := accuse(t, s)
		require.Equal(t, 1, got.Crashes, "it lives")
		require.Equal(t, "a", got.Life)
		require.Equal(t, c.Now().Add(ttl/2), got.Until)
		require.NoError(t, s.EndRun(t.Context(), key, "b"), "not his")
		require.Equal(t, "a", accuse(t, s).Life)
		require.NoError(t, s.EndRun(t.Context(), key, "a"))
		require.NoError(t, s.BeginRun(t.Context(), key, "b", ttl))
		require.ErrorIs(t, s.ExtendRun(t.Context(), key, "a", ttl), store.ErrStaleToken)
		require.Equal(t, 1, accuse(t, s).Crashes)
	})

	t.Run("WhatDidNotRunIsNotCounted", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		accuse(t, s)
		require.NoError(t, s.BeginRun(t.Context(), key, "a", ttl))
		require.NoError(t, s.EndLife(t.Context(), "a", nil), "a stop in order")
		c.add(ttl)
		got := accuse(t, s)
		require.Equal(t, 1, got.Crashes)
		require.Empty(t, got.Life)
		require.NoError(t, s.EndLife(t.Context(), "a", []store.Suspect{ran}))
		require.Equal(t, 1, accuse(t, s).Crashes, "it is a suspect, and ran under no life")
	})

	t.Run("ARunOfOneThatWasCleared", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		accuse(t, s)
		do(t, s, s.ClearSuspect(key)) // another copy of the message ended well
		require.NoError(t, s.BeginRun(t.Context(), key, "a", ttl))
		require.Len(t, list(t, s), 1)
		require.NoError(t, s.EndLife(t.Context(), "a", []store.Suspect{ran}))
		require.Equal(t, 2, list(t, s)[0].Crashes)
	})

	t.Run("Expire", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		accuse(t, s)
		c.add(time.Hour)
		all, err := s.Suspects(t.Context(), c.Now())
		require.NoError(t, err)
		require.Empty(t, all)
		for _, want := range []int{1, 0} {
			n, err := s.ExpireSuspects(t.Context(), c.Now())
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
	})
}
