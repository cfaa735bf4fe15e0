package storetest

import (
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// startReplay makes a replay of all that is dead, and leases it.
func startReplay(t testing.TB, s store.Store) store.ReplayLease {
	t.Helper()
	sel := selectAll(t, s, store.Filter{})
	run, err := s.StartReplay(t.Context(), store.Replay{Selection: sel.ID, By: "ada"}, nil)
	require.NoError(t, err)
	l, ok, err := s.LeaseReplay(t.Context(), ttl)
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, run, l.Replay)
	return l
}

// sending is what sends up to n letters of a replay.
func sending(t testing.TB, s store.Store, l store.ReplayLease, n int) []pipeline.Write {
	t.Helper()
	next, err := s.NextItems(t.Context(), l, n)
	require.NoError(t, err)
	items := make([]store.ReplayItem, len(next))
	var writes []pipeline.Write
	for i, c := range next {
		items[i] = c.ReplayItem
		items[i].State, items[i].Deaths = store.ItemSent, c.Now.Deaths
		writes = append(writes, s.MoveLetter(store.Move{ID: c.Letter, To: store.Replaying, Version: c.Now.Version}),
			s.Requeue(store.DelayedMessage{Handler: c.Now.Handler, Message: c.Now.Message, Key: c.Now.Key, Content: c.Now.Content}))
	}
	return append(writes, s.AdvanceReplay(l, items))
}

// counts are pending, sent, completed, dead and skipped.
func counts(r store.Replay) [5]int64 {
	return [5]int64{r.Pending, r.Sent, r.Completed, r.Dead, r.Skipped}
}

func follow(t testing.TB, s store.Store, l store.ReplayLease) store.Replay {
	t.Helper()
	run, err := s.FollowReplay(t.Context(), l, ttl)
	require.NoError(t, err)
	return run
}

func items(t testing.TB, s store.Store, q store.ItemQuery) []store.ReplayItem {
	t.Helper()
	items, err := s.ReplayItems(t.Context(), q)
	require.NoError(t, err)
	return items
}

func replays(t *testing.T, h Harness) {
	t.Run("KeptWhole", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		bury(t, s, letter(1), letter(2))
		sel := selectAll(t, s, store.Filter{})
		want := store.Replay{
			Selection: sel.ID, By: "ada", Why: "the warehouse is up",
			Options: store.ReplayOptions{Rate: 0.5, Ramp: []int{1, 5}, StopAfter: 3, Redirect: "orders", Transform: "payload", Overtake: true},
		}
		noted := want
		got, err := s.StartReplay(t.Context(), want, func(r store.Replay) []pipeline.Write {
			noted = r
			return []pipeline.Write{s.Record(store.AuditEntry{Actor: "ada", Action: "replay", Count: int(r.Count), Detail: fmt.Sprint(r.ID)})}
		})
		require.NoError(t, err)
		want.ID, want.State, want.Started, want.Changed, want.Count, want.Pending = got.ID, store.ReplayRunning, c.Now(), c.Now(), 2, 2
		require.Equal(t, want, got)
		require.Equal(t, want, noted)
		require.Len(t, entries(t, s, store.AuditQuery{}), 1)
		got, err = s.ReplayRun(t.Context(), want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)

		_, err = s.StartReplay(t.Context(), want, func(store.Replay) []pipeline.Write {
			return []pipeline.Write{func(any) error { return errors.New("no") }}
		})
		require.Error(t, err)
		second, err := s.StartReplay(t.Context(), store.Replay{Selection: sel.ID}, nil)
		require.NoError(t, err)
		page, err := s.ReplayRuns(t.Context(), store.ReplayQuery{Limit: 1})
		require.NoError(t, err)
		require.Equal(t, []store.Replay{second}, page.Replays)
		page, err = s.ReplayRuns(t.Context(), store.ReplayQuery{Cursor: page.Next})
		require.NoError(t, err)
		require.Equal(t, []store.Replay{want}, page.Replays, "what could not be recorded was not started")
		require.Empty(t, page.Next)

		_, err = s.StartReplay(t.Context(), store.Replay{Selection: sel.ID + 1}, nil)
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = s.ReplayRun(t.Context(), 999)
		require.ErrorIs(t, err, store.ErrNotFound)
	})

	t.Run("OutcomesAreReadOffTheLetters", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		letters := bury(t, s, letter(1), letter(2), letter(3), letter(4), letter(5))
		l := startReplay(t, s)
		do(t, s, sending(t, s, l, 4)...)
		require.Equal(t, [5]int64{1, 4, 0, 0, 0}, counts(follow(t, s, l)))

		again := letter(2)
		again.Copy = "again"
		do(t, s, s.CloseLetter("prepare", "m-1", 0), s.Bury(again), s.MoveLetter(store.Move{ID: letters[2].ID, To: store.Dead}))
		require.Equal(t, [5]int64{1, 1, 1, 2, 0}, counts(follow(t, s, l)))
		// What becomes of it afterwards is another story.
		do(t, s, s.MoveLetter(store.Move{ID: letters[1].ID, To: store.Replaying}), s.CloseLetter("prepare", "m-2", 0))
		require.Equal(t, [5]int64{1, 1, 1, 2, 0}, counts(follow(t, s, l)))

		next, err := s.NextItems(t.Context(), l, 10)
		require.NoError(t, err)
		require.Len(t, next, 1)
		require.Equal(t, letters[4].Content, next[0].Now.Content)
		next[0].State, next[0].Why = store.ItemSkipped, "because"
		do(t, s, s.AdvanceReplay(l, []store.ReplayItem{next[0].ReplayItem}))
		run := follow(t, s, l)
		require.Equal(t, [5]int64{0, 1, 1, 2, 1}, counts(run))
		require.Equal(t, store.ReplayRunning, run.State, "the fourth is under way")
		do(t, s, s.CloseLetter("prepare", "m-4", 0))
		run = follow(t, s, l)
		require.Equal(t, store.ReplayDone, run.State)
		require.Equal(t, [5]int64{0, 0, 2, 2, 1}, counts(run))

		var states []store.ItemState
		for _, i := range items(t, s, store.ItemQuery{Replay: l.ID}) {
			states = append(states, i.State)
		}
		require.Equal(t, []store.ItemState{store.ItemCompleted, store.ItemDead, store.ItemDead, store.ItemCompleted, store.ItemSkipped}, states)
		skipped := items(t, s, store.ItemQuery{Replay: l.ID, State: store.ItemSkipped})
		require.Equal(t, []store.ReplayItem{{Place: 5, Letter: letters[4].ID, Seen: 1, State: store.ItemSkipped, Why: "because"}}, skipped)
		require.Len(t, items(t, s, store.ItemQuery{Replay: l.ID, After: 1, Limit: 2}), 2)
	})

	t.Run("EachHasOneTurn", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		bury(t, s, letter(1), letter(2), letter(3))
		l := startReplay(t, s)
		twice := sending(t, s, l, 2)
		errs := make([]error, 4)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() { errs[i] = s.Do(t.Context(), sending(t, s, l, 2)...) })
		}
		wg.Wait()
		won := 0
		for _, err := range errs {
			if err == nil {
				won++
			}
		}
		require.Positive(t, won)
		require.Error(t, s.Do(t.Context(), twice...))
		for follow(t, s, l).Pending > 0 {
			do(t, s, sending(t, s, l, 2)...)
		}
		require.Equal(t, [5]int64{0, 3, 0, 0, 0}, counts(follow(t, s, l)))
		waiting, err := s.DelayedMessages(t.Context(), "prepare", 0, 10)
		require.NoError(t, err)
		require.Len(t, waiting, 3)
		for _, i := range items(t, s, store.ItemQuery{Replay: l.ID}) {
			got, err := s.Letter(t.Context(), i.Letter)
			require.NoError(t, err)
			require.Equal(t, 1, got.Replays)
		}
	})

	t.Run("WhatFailsHappensNotAtAll", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		want := bury(t, s, letter(1))[0]
		l := startReplay(t, s)
		// The edit, the move, the message and the turn: none without the other.
		writes := append([]pipeline.Write{s.ReviseLetter(want.ID, want.Version, store.Content{Payload: []byte("edited")})}, sending(t, s, l, 1)...)
		require.ErrorIs(t, s.Do(t.Context(), writes...), store.ErrConflict, "the move saw the version before the edit")
		got, err := s.Letter(t.Context(), want.ID)
		require.NoError(t, err)
		require.Equal(t, want, got)
		require.Equal(t, [5]int64{1, 0, 0, 0, 0}, counts(follow(t, s, l)))
		_, ok, err := s.NextDue(t.Context(), "prepare")
		require.NoError(t, err)
		require.False(t, ok)
	})

	t.Run("PausedResumedCancelled", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		bury(t, s, letter(1), letter(2))
		l := startReplay(t, s)
		do(t, s, sending(t, s, l, 1)...)
		late := sending(t, s, l, 1)
		run, err := s.MoveReplay(t.Context(), store.ReplayMove{ID: l.ID, To: store.ReplayPaused, Problem: "3 died"},
			s.Record(store.AuditEntry{Actor: "ada", Action: "replay_pause"}))
		require.NoError(t, err)
		require.Equal(t, store.ReplayPaused, run.State)
		require.Equal(t, "3 died", run.Problem)
		require.ErrorIs(t, s.Do(t.Context(), late...), store.ErrStaleToken, "nothing is sent while it is paused")
		again := letter(1)
		again.Copy = "again"
		do(t, s, s.Bury(again))
		require.Equal(t, [5]int64{1, 0, 0, 1, 0}, counts(follow(t, s, l)), "what was sent is followed all the same")

		run, err = s.MoveReplay(t.Context(), store.ReplayMove{ID: l.ID, To: store.ReplayRunning})
		require.NoError(t, err)
		require.Equal(t, int64(1), run.Forgiven)
		require.Empty(t, run.Problem)
		do(t, s, late...)
		_, err = s.MoveReplay(t.Context(), store.ReplayMove{ID: l.ID, To: store.ReplayCancelled})
		require.NoError(t, err)
		do(t, s, s.CloseLetter("prepare", "m-2", 0))
		run = follow(t, s, l)
		require.Equal(t, store.ReplayCancelled, run.State)
		require.Equal(t, [5]int64{0, 0, 1, 1, 0}, counts(run))
		for _, to := range []store.ReplayState{store.ReplayRunning, store.ReplayPaused, store.ReplayCancelled, store.ReplayDone} {
			require.False(t, store.CanMoveReplay(store.ReplayCancelled, to))
			_, err = s.MoveReplay(t.Context(), store.ReplayMove{ID: l.ID, To: to})
			require.ErrorIs(t, err, store.ErrConflict)
			require.ErrorContains(t, err, "it is cancelled")
		}
		_, err = s.MoveReplay(t.Context(), store.ReplayMove{ID: l.ID + 1, To: store.ReplayPaused})
		require.ErrorIs(t, err, store.ErrNotFound)
	})

	t.Run("WhatWasPublishedIsNotedAllTheSame", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		bury(t, s, letter(1), letter(2))
		l := startReplay(t, s)
		next, err := s.NextItems(t.Context(), l, 2)
		require.NoError(t, err)
		_, err = s.MoveReplay(t.Context(), store.ReplayMove{ID: l.ID, To: store.ReplayCancelled})
		require.NoError(t, err)
		first := next[0].ReplayItem
		first.State = store.ItemCompleted
		do(t, s, s.AdvanceReplay(l, []store.ReplayItem{first}))
		require.Equal(t, [5]int64{1, 0, 1, 0, 0}, counts(follow(t, s, l)))
		require.ErrorIs(t, s.Do(t.Context(), s.AdvanceReplay(l, []store.ReplayItem{first})), store.ErrStaleToken, "once")
		second := next[1].ReplayItem
		second.State = store.ItemSent
		require.ErrorIs(t, s.Do(t.Context(), s.AdvanceReplay(l, []store.ReplayItem{second})), store.ErrStaleToken)
	})

	t.Run("TellsWhyItDoesNotGoOn", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		bury(t, s, letter(1), letter(2))
		l := startReplay(t, s)
		again := func() {
			require.NoError(t, s.ReleaseReplay(t.Context(), l))
			next, ok, err := s.LeaseReplay(t.Context(), ttl)
			require.NoError(t, err)
			require.True(t, ok)
			l = next
		}
		l.Problem = "no broker"
		again()
		require.Equal(t, "no broker", l.Problem)
		again()
		require.Equal(t, "no broker", l.Problem)
		do(t, s, sending(t, s, l, 1)...)
		require.Empty(t, follow(t, s, l).Problem, "it goes on")

		_, err := s.MoveReplay(t.Context(), store.ReplayMove{ID: l.ID, To: store.ReplayPaused, Problem: "3 died"})
		require.NoError(t, err)
		l.Problem = "no broker"
		again()
		require.Equal(t, "3 died", l.Problem, "which is why it does not go on")
	})

	t.Run("OneHolderAtATime", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		bury(t, s, letter(1), letter(2))
		first := startReplay(t, s)
		lease := func() (store.ReplayLease, bool) {
			l, ok, err := s.LeaseReplay(t.Context(), ttl)
			require.NoError(t, err)
			return l, ok
		}
		_, ok := lease()
		require.False(t, ok)
		c.add(ttl / 2)
		follow(t, s, first)
		c.add(ttl / 2)
		_, ok = lease()
		require.False(t, ok, "it was extended")
		late := sending(t, s, first, 1)
		c.add(ttl / 2)
		second, ok := lease()
		require.True(t, ok)
		require.ErrorIs(t, s.Do(t.Context(), late...), store.ErrStaleToken)
		_, err := s.FollowReplay(t.Context(), first, ttl)
		require.ErrorIs(t, err, store.ErrStaleToken)
		require.NoError(t, s.ReleaseReplay(t.Context(), first), "it is not its own any more")
		_, ok = lease()
		require.False(t, ok)

		do(t, s, sending(t, s, second, 1)...)
		_, err = s.MoveReplay(t.Context(), store.ReplayMove{ID: second.ID, To: store.ReplayPaused})
		require.NoError(t, err)
		require.NoError(t, s.ReleaseReplay(t.Context(), second))
		third, ok := lease()
		require.True(t, ok, "paused, but something is under way")
		do(t, s, s.CloseLetter("prepare", "m-1", 0))
		follow(t, s, third)
		require.NoError(t, s.ReleaseReplay(t.Context(), third))
		_, ok = lease()
		require.False(t, ok, "nothing to do")
	})

	t.Run("ExpiredInChunks", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		bury(t, s, letter(1), letter(2), letter(3))
		unused := selectAll(t, s, store.Filter{})
		l := startReplay(t, s)
		do(t, s, sending(t, s, l, 3)...)
		c.add(time.Hour)
		before := c.Now()
		c.add(time.Hour)
		rows := func() int {
			sum := 0
			for {
				n, err := s.ExpireReplays(t.Context(), before, 2)
				require.NoError(t, err)
				require.LessOrEqual(t, n, 2)
				if sum += n; n < 2 {
					return sum
				}
			}
		}
		require.Equal(t, 4, rows(), "the selection without a replay and its letters")
		_, err := s.Selection(t.Context(), unused.ID)
		require.ErrorIs(t, err, store.ErrNotFound)
		do(t, s, s.CloseLetter("prepare", "m-1", 0), s.CloseLetter("prepare", "m-2", 0), s.CloseLetter("prepare", "m-3", 0))
		require.Equal(t, store.ReplayDone, follow(t, s, l).State)
		require.Zero(t, rows(), "it ended only now")
		before = c.Now().Add(time.Second)
		require.Equal(t, 8, rows(), "three items, the replay, three letters, the selection")
		_, err = s.ReplayRun(t.Context(), l.ID)
		require.ErrorIs(t, err, store.ErrNotFound)
	})
}
