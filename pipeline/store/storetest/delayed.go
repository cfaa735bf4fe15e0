package storetest

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const ttl = time.Minute

// waiting returns a delayed message of a key, due in so many seconds.
func waiting(c *clock, name, key string, seconds int) store.DelayedMessage {
	return store.DelayedMessage{
		Handler: "prepare", Message: name, Topic: "orders-in", Partition: 2, Offset: 7, Key: key, Due: c.Now().Add(time.Duration(seconds) * time.Second),
		Attempts: 2, Rounds: 1, Replays: 3, First: c.Now(), Reason: pipeline.ReasonTimeout, Error: "no answer",
		Content: store.Content{Headers: map[string]string{"bytes": "\xff\x00"}, Payload: []byte("\x00{" + name)},
	}
}

// lease takes up to n and returns them.
func lease(t require.TestingT, s store.Store, n int) []store.Lease {
	leases, err := s.LeaseDue(ctx, "prepare", n, ttl)
	require.NoError(t, err)
	return leases
}

func names(leases []store.Lease) []string {
	var names []string
	for _, l := range leases {
		names = append(names, l.Message)
	}
	return names
}

func delayed(t *testing.T, h Harness) {
	t.Run("InTheOrderOfTheirTimes", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		late, soon := waiting(c, "late", "", 20), waiting(c, "soon", "", 10)
		other := waiting(c, "other", "", 1)
		other.Handler = "mail"
		do(t, s, s.Delay(late), s.Delay(soon), s.Delay(other))
		require.Empty(t, lease(t, s, 10), "not before their time")
		at, ok, err := s.NextDue(t.Context(), "prepare")
		require.NoError(t, err)
		require.True(t, ok)
		require.Equal(t, soon.Due, at)

		c.add(30 * time.Second)
		leases := lease(t, s, 10)
		require.Equal(t, []string{"soon", "late"}, names(leases))
		soon.ID = leases[0].ID
		require.Equal(t, soon, leases[0].DelayedMessage, "all of it, byte by byte")
		require.Equal(t, 1, leases[0].Leases)
		require.Empty(t, lease(t, s, 10), "one holder at a time")
		_, ok, err = s.NextDue(t.Context(), "nobody")
		require.NoError(t, err)
		require.False(t, ok)
	})

	t.Run("ARepeatChangesNothing", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		m := waiting(c, "m", "", 0)
		do(t, s, s.Delay(m))
		l := lease(t, s, 1)[0]
		do(t, s, s.Delay(m)) // its input comes again while it runs
		do(t, s, s.EndDelayed(l))
		require.Empty(t, lease(t, s, 10))
		twin := m
		twin.Copy = "7"
		do(t, s, s.Delay(m), s.Delay(twin))
		require.Len(t, lease(t, s, 10), 2, "messages that share an id are not merged")
	})

	t.Run("AStaleTokenIsRefused", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		do(t, s, s.Delay(waiting(c, "m", "", 0)))
		first := lease(t, s, 1)[0]
		c.add(ttl)
		second := lease(t, s, 1)
		require.Len(t, second, 1, "the lease has ended")
		require.Equal(t, 2, second[0].Leases, "a crash may have been the reason")

		require.ErrorIs(t, s.ExtendLease(t.Context(), first, ttl), store.ErrStaleToken)
		require.ErrorIs(t, s.Do(t.Context(), s.DelayAgain(first)), store.ErrStaleToken)
		receipt := store.Receipt{ReceiptKey: store.ReceiptKey{Subject: "m", Effect: "late"}}
		err := s.Do(t.Context(), s.FinishReceipt(receipt), s.EndDelayed(first))
		require.ErrorIs(t, err, store.ErrStaleToken)
		r, err := s.Receipt(t.Context(), receipt.ReceiptKey)
		require.NoError(t, err)
		require.Equal(t, store.Free, r.State, "its late outcome is void as a whole")

		do(t, s, s.EndDelayed(second[0]))
		for _, l := range []store.Lease{first, second[0]} {
			require.ErrorIs(t, s.Do(t.Context(), s.EndDelayed(l)), store.ErrStaleToken, "ended once")
		}
	})

	t.Run("ExtendKeepsItAndDelayAgainGivesItBack", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		do(t, s, s.Delay(waiting(c, "m", "", 0)))
		l := lease(t, s, 1)[0]
		c.add(ttl / 2)
		require.NoError(t, s.ExtendLease(t.Context(), l, ttl))
		c.add(ttl / 2)
		require.Empty(t, lease(t, s, 1))
		l.Due, l.Attempts, l.Rounds, l.Replays, l.Error = c.Now().Add(time.Hour), 3, 2, 4, "again"
		do(t, s, s.DelayAgain(l))
		require.ErrorIs(t, s.ExtendLease(t.Context(), l, ttl), store.ErrStaleToken)
		require.Empty(t, lease(t, s, 1))
		c.add(time.Hour)
		got := lease(t, s, 1)
		require.Len(t, got, 1)
		require.Equal(t, l.DelayedMessage, got[0].DelayedMessage)
		require.Equal(t, 1, got[0].Leases)
	})

	t.Run("AKeyKeepsItsOrder", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		do(t, s, s.Delay(waiting(c, "a1", "a", 60)), s.Delay(waiting(c, "a2", "a", 0)), s.Delay(waiting(c, "a3", "a", 0)),
			s.Delay(waiting(c, "b1", "b", 0)), s.Delay(waiting(c, "n1", "", 0)), s.Delay(waiting(c, "n2", "", 0)))
		pass := waiting(c, "pass", "a", 0)
		pass.Overtake = true
		do(t, s, s.Delay(pass))
		require.ElementsMatch(t, []string{"b1", "n1", "n2", "pass"}, names(lease(t, s, 10)), "others do not wait, nor who may overtake")
		keys, err := s.HeldKeys(t.Context(), "prepare")
		require.NoError(t, err)
		require.Equal(t, []string{"a", "b"}, keys)
		list, err := s.DelayedMessages(t.Context(), "prepare", 0, 3)
		require.NoError(t, err)
		require.Len(t, list, 3)

		c.add(ttl - time.Second)
		require.Empty(t, lease(t, s, 10))
		c.add(time.Second)
		var a1 store.Lease
		for _, l := range lease(t, s, 10) { // the other leases have ended, too
			if l.Message == "a1" {
				a1 = l
			}
		}
		a1.Due = c.Now().Add(10 * time.Second)
		do(t, s, s.DelayAgain(a1))
		require.Empty(t, lease(t, s, 10), "it keeps its place")
		c.add(10 * time.Second)
		for _, want := range []string{"a1", "a2", "a3"} {
			leases := lease(t, s, 10)
			require.Equal(t, []string{want}, names(leases))
			do(t, s, s.EndDelayed(leases[0]))
		}
	})

	t.Run("ManyPutAndEndAKeyAtOnce", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		const total = 60
		var wg sync.WaitGroup
		for i := range total {
			wg.Go(func() {
				if err := s.Do(t.Context(), s.Delay(waiting(c, fmt.Sprint(i), fmt.Sprint(i%2), 0))); err != nil {
					t.Error(err)
				}
			})
		}
		var mu sync.Mutex
		ended := make(map[string]int)
		for range 4 {
			wg.Go(func() {
				for {
					mu.Lock()
					n := len(ended)
					mu.Unlock()
					if n == total || t.Context().Err() != nil {
						return
					}
					leases, err := s.LeaseDue(t.Context(), "prepare", 3, time.Hour)
					if err != nil {
						t.Error(err)
						return
					}
					for _, l := range leases {
						if err := s.Do(t.Context(), s.EndDelayed(l)); err != nil {
							t.Error(err)
							return
						}
						mu.Lock()
						ended[l.Message]++
						mu.Unlock()
					}
				}
			})
		}
		wg.Wait()
		require.Len(t, ended, total, "none is blocked by one that is gone")
		for name, n := range ended {
			require.Equal(t, 1, n, name)
		}
	})

	t.Run("AParkedOneHoldsItsKey", func(t *testing.T) { t.Parallel(); parked(t, h) })

	t.Run("OfAnyLength", func(t *testing.T) { t.Parallel(); long(t, h) })
	t.Run("AReplayIsWithdrawn", func(t *testing.T) { t.Parallel(); withdrawn(t, h) })

	t.Run("ByTheStoresOwnClock", func(t *testing.T) {
		t.Parallel()
		s := h.Open(t, h.Place(t), store.Options{})
		m := store.DelayedMessage{Handler: "prepare", Message: "m", Due: time.Now().Add(-time.Hour)}
		later := store.DelayedMessage{Handler: "prepare", Message: "later", Due: time.Now().Add(time.Hour)}
		do(t, s, s.Delay(m), s.Delay(later))
		leases := lease(t, s, 10)
		require.Equal(t, []string{"m"}, names(leases))
		require.WithinDuration(t, time.Now().Add(ttl), leases[0].Until, ttl/2)
	})

	t.Run("RandomLives", func(t *testing.T) { t.Parallel(); delayedModel(t, h) })
}
