package storetest

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// states holds the driver to the table of moves: each move that anybody can
// ask for, and random lives against a model of one letter.
func states(t *testing.T, h Harness) {
	t.Run("OnlyLegalMoves", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		ways := map[store.State][]store.State{
			store.Dead: {}, store.Replaying: {store.Replaying}, store.Archived: {store.Archived}, store.Completed: {store.Completed},
		}
		n := 0
		for from, way := range ways {
			for _, to := range store.States() {
				n++
				l := bury(t, s, letter(n))[0]
				for _, step := range way {
					do(t, s, s.MoveLetter(store.Move{ID: l.ID, To: step}))
				}
				err := s.Do(t.Context(), s.MoveLetter(store.Move{ID: l.ID, To: to}))
				got, getErr := s.Letter(t.Context(), l.ID)
				require.NoError(t, getErr)
				if store.CanMove(from, to) && to != store.InProgress && to != store.Retrying {
					require.NoError(t, err, "%s to %s", from, to)
					require.Equal(t, to, got.State)
				} else {
					require.ErrorIs(t, err, store.ErrConflict, "%s to %s", from, to)
					require.Equal(t, from, got.State)
				}
			}
		}
		require.ErrorIs(t, s.Do(t.Context(), s.MoveLetter(store.Move{ID: 1 << 40, To: store.Archived})), store.ErrNotFound)
	})

	t.Run("RandomLives", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		lives := 0
		rapid.Check(t, func(r *rapid.T) {
			lives++
			live(t, r, s, lives)
		})
	})
}

// live leads one letter through a random life beside a model of it.
func live(t *testing.T, r *rapid.T, s store.Store, n int) {
	l := bury(t, s, letter(n))[0]
	state, version, deaths := store.Dead, int64(1), 1
	r.Repeat(map[string]func(*rapid.T){
		"move": func(r *rapid.T) {
			m := store.Move{
				ID: l.ID, To: rapid.SampledFrom([]store.State{store.Dead, store.Replaying, store.Archived, store.Completed}).Draw(r, "to"),
				Version: rapid.SampledFrom([]int64{0, version, version - 1}).Draw(r, "version"),
			}
			err := s.Do(t.Context(), s.MoveLetter(m))
			if !store.CanMove(state, m.To) || m.Version != 0 && m.Version != version {
				if !errors.Is(err, store.ErrConflict) {
					r.Fatalf("%s in version %d, %+v: %v", state, version, m, err)
				}
				return
			}
			require.NoError(r, err)
			state, version = m.To, version+1
		},
		"close": func(r *rapid.T) {
			do(r, s, s.CloseLetter(l.Handler, l.Message, 0))
			if state == store.Dead || state == store.Replaying {
				state, version = store.Completed, version+1
			}
		},
		"die again": func(r *rapid.T) {
			again := letter(n)
			again.Copy = l.Message + rapid.StringMatching(`[a-c]{3}`).Draw(r, "copy")
			before, err := s.Letter(t.Context(), l.ID)
			require.NoError(r, err)
			do(r, s, s.Bury(again))
			after, err := s.Letter(t.Context(), l.ID)
			require.NoError(r, err)
			if after.Deaths != before.Deaths { // a copy that it has not seen
				state, version, deaths = store.Dead, version+1, deaths+1
			}
		},
		"": func(r *rapid.T) {
			got, err := s.Letter(t.Context(), l.ID)
			require.NoError(r, err)
			require.Equal(r, state, got.State)
			require.Equal(r, version, got.Version)
			require.Equal(r, deaths, got.Deaths)
		},
	})
}
