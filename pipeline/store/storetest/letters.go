package storetest

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func deadLetters(t *testing.T, h Harness) {
	t.Run("KeptWhole", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		want := letter(1)
		want.Parked = true
		got := bury(t, s, want)[0]
		got, err := s.Letter(t.Context(), got.ID)
		require.NoError(t, err)
		want.ID, want.State, want.Version, want.Deaths, want.Copy = got.ID, store.Dead, 1, 1, ""
		want.Buried, want.Changed = c.Now(), c.Now()
		require.Equal(t, want, got)
		_, err = s.Letter(t.Context(), got.ID+1)
		require.ErrorIs(t, err, store.ErrNotFound)
	})

	t.Run("EveryByteIsKept", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		all := make([]byte, 256)
		for i := range all {
			all[i] = byte(i)
		}
		for i, payload := range [][]byte{all, {}, []byte(`{"a":"\u0000"}`), []byte(`{"a":1,"a":2}`), []byte("\xff"), []byte(" {\"a\": 1.50}\n")} {
			l := letter(i)
			l.Payload = payload
			l.Message, l.Key = string(all)+fmt.Sprint(i), "\x00key"
			l.Headers = map[string]string{"plain": "x", "bytes": string(all), "": "empty", "\xff": "\uFFFDhex:zz", "html": "<&>\u2028"}
			do(t, s, s.Bury(l))
			page, err := s.Letters(t.Context(), store.LetterQuery{Limit: 1})
			require.NoError(t, err)
			got := page.Letters[0]
			require.Equal(t, string(payload), string(got.Payload))
			require.Equal(t, l.Headers, got.Headers)
			require.Equal(t, l.Message, got.Message)
			require.Equal(t, l.Key, got.Key)
		}
	})

	t.Run("WhatOthersWroteIsNoObstacle", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		dirty := "\xff\x00'"
		do(t, s, s.Bury(store.DeadLetter{
			Handler: dirty, Message: dirty, Topic: dirty, Subscription: dirty, Key: dirty, Correlation: dirty, Reason: pipeline.Reason(dirty),
			Error: dirty, ErrorType: dirty, Stack: dirty, Fingerprint: dirty, Copy: dirty,
		}))
		page, err := s.Letters(t.Context(), store.LetterQuery{})
		require.NoError(t, err)
		l := page.Letters[0]
		require.Equal(t, dirty, l.Message)
		require.Equal(t, dirty, l.Key)
		require.Equal(t, "\uFFFD\uFFFD'", l.Topic)
		for _, l := range []store.DeadLetter{{}, {Handler: "h", Message: "m"}, {Handler: "h", Copy: "1"}, {Message: "m", Copy: "1"}} {
			require.ErrorIs(t, s.Do(t.Context(), s.Bury(l)), store.ErrInvalid)
		}
	})

	t.Run("ACopyIsBuriedOnce", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		l := letter(1)
		var wg sync.WaitGroup
		for range 8 {
			wg.Go(func() {
				if err := s.Do(t.Context(), s.Bury(l)); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		got := bury(t, s, l)[0]
		require.Equal(t, 1, got.Deaths)
		require.Equal(t, int64(1), got.Version)

		again := l
		again.Copy, again.Error, again.Attempts = "another", "dead again", 5
		got = bury(t, s, again)[0]
		require.Equal(t, 2, got.Deaths)
		require.Equal(t, "dead again", got.Error)
		require.Equal(t, int64(2), got.Version)
		got = bury(t, s, l)[0] // the broker hands out the first copy again
		require.Equal(t, "dead again", got.Error)

		other := l
		other.Handler = "mail"
		bury(t, s, other)
		n, err := s.CountLetters(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Equal(t, int64(2), n, "one a message and handler")
	})

	t.Run("MessagesThatShareAnIDAreNotMerged", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for i := range 3 {
			l := letter(1)
			l.Headers[pipeline.MetaIDSource] = pipeline.IDSourceContent
			l.Copy = fmt.Sprint(i)
			do(t, s, s.Bury(l), s.Bury(l))
		}
		n, err := s.CountLetters(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Equal(t, int64(3), n)
		page, err := s.Letters(t.Context(), store.LetterQuery{})
		require.NoError(t, err)
		for _, l := range page.Letters { // as it was: nothing comes twice
			do(t, s, s.Bury(l))
		}
		n, err = s.CountLetters(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Equal(t, int64(3), n)
	})

	t.Run("OfMessagesThatShareAnIDTheReplayedOneIsMeant", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		for i := range 3 {
			l := letter(1)
			l.Headers[pipeline.MetaIDSource] = pipeline.IDSourceContent
			l.Copy = fmt.Sprint(i)
			do(t, s, s.Bury(l))
		}
		page, err := s.Letters(t.Context(), store.LetterQuery{})
		require.NoError(t, err)
		replayed := page.Letters[1]
		m := waiting(c, replayed.Message, "", 0)
		m.Letter = replayed.ID
		do(t, s, s.Requeue(m), s.MoveLetter(store.Move{ID: replayed.ID, To: store.Replaying}))
		l := lease(t, s, 1)[0]
		require.Equal(t, replayed.ID, l.Letter)

		do(t, s, s.CloseLetter(l.Handler, l.Message, 0))
		states := func() (states []store.State) {
			page, err := s.Letters(t.Context(), store.LetterQuery{})
			require.NoError(t, err)
			for _, l := range page.Letters {
				states = append(states, l.State)
			}
			return states
		}
		require.Equal(t, []store.State{store.Dead, store.Replaying, store.Dead}, states())

		again, elsewhere := replayed, replayed // it dies again
		again.Copy, again.Error = "again", "dead again"
		elsewhere.Copy, elsewhere.Handler = "again", "mail"
		do(t, s, s.Bury(again), s.Bury(again), s.Bury(elsewhere))
		require.Equal(t, []store.State{store.Dead, store.Dead, store.Dead, store.Dead}, states(), "another handler's is another letter")
		got, err := s.Letter(t.Context(), replayed.ID)
		require.NoError(t, err)
		require.Equal(t, 2, got.Deaths)
		require.Equal(t, "dead again", got.Error)

		do(t, s, s.CloseLetter("nobody", l.Message, replayed.ID), s.CloseLetter(l.Handler, "nobody", replayed.ID))
		require.NotContains(t, states(), store.Completed)
		do(t, s, s.CloseLetter(l.Handler, l.Message, replayed.ID))
		require.Equal(t, []store.State{store.Dead, store.Dead, store.Completed, store.Dead}, states())
	})

	t.Run("AnImportBuriesOnlyWhatIsNotThere", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		was := bury(t, s, letter(1))[0]
		news := func(n int) (all []store.DeadLetter) { // of each message two deaths
			for i := range n {
				for _, death := range []string{"import", "of another death"} {
					l := letter(i)
					l.Copy, l.Error = death, death
					all = append(all, l)
				}
			}
			return all
		}
		told := func(n int) []pipeline.Write {
			return []pipeline.Write{s.Record(store.AuditEntry{Actor: "ada", Action: "import", Count: n})}
		}
		var total atomic.Int64
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				n, err := s.ImportLetters(ctx, news(10), told)
				if err != nil {
					t.Error(err)
				}
				total.Add(int64(n))
			})
		}
		wg.Wait()
		require.Equal(t, int64(9), total.Load())
		page, err := s.Letters(t.Context(), store.LetterQuery{})
		require.NoError(t, err)
		require.Len(t, page.Letters, 10)
		for _, l := range page.Letters {
			if l.Message == was.Message {
				require.Equal(t, was, l)
				continue
			}
			require.Equal(t, "import", l.Error, "the first of two in a file")
			require.Equal(t, 1, l.Deaths)
		}
		count := 0
		for _, e := range entries(t, s, store.AuditQuery{}) {
			count += e.Count
		}
		require.Equal(t, 9, count)
		twins := []store.DeadLetter{letter(20), letter(20)}
		for i := range twins {
			twins[i].Headers[pipeline.MetaIDSource], twins[i].Copy = pipeline.IDSourceContent, fmt.Sprint(i)
		}
		n, err := s.ImportLetters(t.Context(), append(twins, twins...), told)
		require.NoError(t, err)
		require.Equal(t, 2, n, "they only share an id")
		do(t, s, s.Bury(twins[0]))
		_, err = s.ImportLetters(t.Context(), []store.DeadLetter{letter(30), {}}, told)
		require.ErrorIs(t, err, store.ErrInvalid)
		n64, err := s.CountLetters(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Equal(t, int64(12), n64)
	})

	t.Run("PagesOfLargeLettersAreShort", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 5 {
			l := letter(n)
			if l.Payload = make([]byte, store.PageBytes/3); n == 4 {
				l.Payload = make([]byte, store.PageBytes+1)
			}
			do(t, s, s.Bury(l))
		}
		var sizes []int
		for q := (store.LetterQuery{Oldest: true}); ; {
			page, err := s.Letters(t.Context(), q)
			require.NoError(t, err)
			sizes = append(sizes, len(page.Letters))
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		require.Equal(t, []int{3, 1, 1}, sizes, "one in any case")
		page, err := s.Letters(t.Context(), store.LetterQuery{Bare: true})
		require.NoError(t, err)
		require.Len(t, page.Letters, 5)
		next, err := s.NextItems(t.Context(), startReplay(t, s), 10)
		require.NoError(t, err)
		require.Len(t, next, 3)
	})

	t.Run("PagesOldestFirst", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 5 {
			do(t, s, s.Bury(letter(n)))
		}
		q := store.LetterQuery{Limit: 3, Oldest: true, Filter: store.Not(store.Is(store.FieldMessage, "m-1"))}
		page, err := s.Letters(t.Context(), q)
		require.NoError(t, err)
		do(t, s, s.Bury(letter(5)))
		q.Cursor = page.Next
		rest, err := s.Letters(t.Context(), q)
		require.NoError(t, err)
		require.Empty(t, rest.Next)
		var got []string
		for _, l := range append(page.Letters, rest.Letters...) {
			got = append(got, l.Message)
		}
		require.Equal(t, []string{"m-0", "m-2", "m-3", "m-4", "m-5"}, got)
	})

	t.Run("PagesNewestFirst", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 25 {
			do(t, s, s.Bury(letter(n)))
		}
		var seen []string
		q := store.LetterQuery{Limit: 10, Bare: true, Filter: store.Not(store.Is(store.FieldKey, "k-3"))}
		for {
			page, err := s.Letters(t.Context(), q)
			require.NoError(t, err)
			for _, l := range page.Letters {
				seen = append(seen, l.Message)
				require.Empty(t, l.Payload)
			}
			do(t, s, s.Bury(letter(100+len(seen)))) // what comes meanwhile disturbs no page
			if q.Cursor = page.Next; q.Cursor == "" {
				break
			}
		}
		var want []string
		for n := 24; n >= 0; n-- {
			if n%7 != 3 {
				want = append(want, fmt.Sprintf("m-%d", n))
			}
		}
		require.Equal(t, want, seen)
		_, err := s.Letters(t.Context(), store.LetterQuery{Cursor: "???"})
		require.ErrorIs(t, err, store.ErrInvalid)
	})

	t.Run("AnEditKeepsTheOriginalAndOneOfTwoWins", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		l := bury(t, s, letter(1))[0]
		errs := make([]error, 8)
		var wg sync.WaitGroup
		for i := range errs {
			wg.Go(func() {
				_, errs[i] = s.EditLetter(t.Context(), l.ID, l.Version, store.Content{
					Headers: map[string]string{"by": fmt.Sprint(i)}, Payload: []byte(fmt.Sprint(i)),
				})
			})
		}
		wg.Wait()
		won := -1
		for i, err := range errs {
			if err == nil {
				require.Equal(t, -1, won, "two edits of one version")
				won = i
				continue
			}
			require.ErrorIs(t, err, store.ErrConflict)
			require.Equal(t, pipeline.ReasonConflict, pipeline.ReasonOf(err))
			require.ErrorContains(t, err, "version 2")
		}
		got, err := s.Letter(t.Context(), l.ID)
		require.NoError(t, err)
		require.True(t, got.Edited)
		require.Equal(t, fmt.Sprint(won), string(got.Payload))

		version, err := s.EditLetter(t.Context(), l.ID, 2, store.Content{Payload: []byte("second")})
		require.NoError(t, err)
		require.Equal(t, int64(3), version)
		original, err := s.Original(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, l.Content, original)

		again := letter(1)
		again.Copy = "dies again"
		require.Equal(t, "second", string(bury(t, s, again)[0].Payload), "a person's edit is not thrown away")

		_, err = s.EditLetter(t.Context(), l.ID+1, 1, store.Content{})
		require.ErrorIs(t, err, store.ErrNotFound)
	})

	t.Run("ArchiveRestoreExpire", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		letters := bury(t, s, letter(1), letter(2), letter(3), letter(4))
		soon, late := c.Now().Add(time.Hour), c.Now().Add(48*time.Hour)
		do(t, s, s.MoveLetter(store.Move{ID: letters[0].ID, To: store.Archived, Expires: soon}),
			s.MoveLetter(store.Move{ID: letters[1].ID, To: store.Archived, Expires: soon}),
			s.MoveLetter(store.Move{ID: letters[2].ID, To: store.Archived, Expires: late}),
			s.MoveLetter(store.Move{ID: letters[1].ID, To: store.Dead}))
		_, err := s.EditLetter(t.Context(), letters[0].ID, 2, store.Content{})
		require.ErrorIs(t, err, store.ErrConflict, "an archived letter is not edited")
		n, err := s.ExpireLetters(t.Context(), store.Expiry{Now: soon.Add(-time.Second)})
		require.NoError(t, err)
		require.Zero(t, n)
		n, err = s.ExpireLetters(t.Context(), store.Expiry{Now: soon})
		require.NoError(t, err)
		require.Equal(t, 1, n, "neither the restored one nor the one that has time")
		_, err = s.Letter(t.Context(), letters[0].ID)
		require.ErrorIs(t, err, store.ErrNotFound)
		_, err = s.Original(t.Context(), letters[0].ID)
		require.ErrorIs(t, err, store.ErrNotFound)
		require.Equal(t, 1, bury(t, s, letter(1))[0].Deaths, "gone is gone, its copies, too")
	})

	t.Run("MovesByFilterInChunks", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 21 {
			do(t, s, s.Bury(letter(n)))
		}
		m := store.MoveAll{Filter: store.Is(store.FieldFingerprint, "f-1"), From: store.Dead, To: store.Archived, Limit: 5}
		var chunks []int
		m.With = func(moved []store.DeadLetter) []pipeline.Write {
			chunks = append(chunks, len(moved))
			return nil
		}
		for _, want := range []int{7, 0} {
			n, err := s.MoveLetters(t.Context(), m)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
		require.Equal(t, []int{5, 2}, chunks)
		n, err := s.CountLetters(t.Context(), store.Is(store.FieldState, string(store.Archived)))
		require.NoError(t, err)
		require.Equal(t, int64(7), n)
		page, err := s.Letters(t.Context(), store.LetterQuery{Filter: store.Is(store.FieldMessage, "m-5")})
		require.NoError(t, err)
		moved, err := s.MoveLetters(t.Context(), store.MoveAll{From: store.Dead, To: store.Archived, UpTo: page.Letters[0].ID})
		require.NoError(t, err)
		require.Equal(t, 4, moved, "0, 2, 3 and 5: none that came after")
		_, err = s.MoveLetters(t.Context(), store.MoveAll{From: store.Archived, To: store.Replaying})
		require.ErrorIs(t, err, store.ErrConflict)
	})

	t.Run("AMoveTakesWhatMatchedWhenItBegan", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		letters := bury(t, s, letter(1), letter(2), letter(3), letter(4))
		broken := errors.New("broken")
		m := store.MoveAll{From: store.Dead, To: store.Archived, Limit: 1}
		m.With = func(moved []store.DeadLetter) []pipeline.Write {
			switch moved[0].ID {
			case letters[0].ID: // meanwhile one more dies, and the next comes back to life
				return []pipeline.Write{s.Bury(letter(5)), s.CloseLetter(letters[1].Handler, letters[1].Message, 0)}
			case letters[3].ID:
				return []pipeline.Write{func(any) error { return broken }}
			}
			return nil
		}
		n, err := s.MoveLetters(t.Context(), m)
		require.ErrorIs(t, err, broken)
		require.Equal(t, 2, n, "what was done before the fault is told")
		page, err := s.Letters(t.Context(), store.LetterQuery{Oldest: true})
		require.NoError(t, err)
		var got []store.State
		for _, l := range page.Letters {
			got = append(got, l.State)
		}
		require.Equal(t, []store.State{store.Archived, store.Completed, store.Archived, store.Dead, store.Dead}, got)
	})

	t.Run("SuccessClosesTheLetter", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		l := bury(t, s, letter(1))[0]
		do(t, s, s.CloseLetter(l.Handler, "nobody", 0), s.CloseLetter(l.Handler, l.Message, 0), s.CloseLetter(l.Handler, l.Message, 0))
		got, err := s.Letter(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, store.Completed, got.State)
	})

	t.Run("Notes", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		l := bury(t, s, letter(1))[0]
		require.NoError(t, s.NoteLetter(t.Context(), l.ID, "called them"))
		require.NoError(t, s.NoteGroup(t.Context(), l.Handler, l.Fingerprint, "warehouse\x00 down"))
		got, err := s.Letter(t.Context(), l.ID)
		require.NoError(t, err)
		require.Equal(t, "called them", got.Note)
		groups, err := s.Groups(t.Context(), store.GroupQuery{})
		require.NoError(t, err)
		require.Equal(t, "warehouse\uFFFD down", groups[0].Note)
		require.ErrorIs(t, s.NoteLetter(t.Context(), l.ID+1, "x"), store.ErrNotFound)
		require.ErrorIs(t, s.NoteGroup(t.Context(), "nobody", "x", "x"), store.ErrNotFound)
	})
}
