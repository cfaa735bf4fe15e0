package storetest

import (
	"context"
	"errors"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func writes(t *testing.T, h Harness) {
	t.Run("AllOrNone", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		broken := errors.New("broken")
		err := s.Do(t.Context(), s.Bury(letter(1)), nil, s.Delay(waiting(c, "m", "", 0)), func(any) error { return broken })
		require.ErrorIs(t, err, broken)
		n, err := s.CountLetters(t.Context(), store.Filter{})
		require.NoError(t, err)
		require.Zero(t, n)
		groups, err := s.Groups(t.Context(), store.GroupQuery{All: true})
		require.NoError(t, err)
		require.Empty(t, groups)
		require.Empty(t, lease(t, s, 1))
	})

	t.Run("AStrangersTransactionIsRefused", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		err := s.Bury(letter(1))("a transaction of something else")
		require.ErrorIs(t, err, store.ErrInvalid)
	})

	t.Run("SeenByOthersAndAfterOpeningAgain", func(t *testing.T) {
		t.Parallel()
		place := h.Place(t)
		one := h.Open(t, place, store.Options{})
		two := h.Open(t, place, store.Options{})
		do(t, one, one.Bury(letter(1)))
		do(t, two, two.Bury(letter(1)), two.Bury(letter(2)))
		for _, s := range []store.Store{one, two, h.Open(t, place, store.Options{})} {
			require.NoError(t, s.Ping(t.Context()))
			n, err := s.CountLetters(t.Context(), store.Filter{})
			require.NoError(t, err)
			require.Equal(t, int64(2), n)
		}
		require.Equal(t, one.Home(), two.Home())
	})

	t.Run("ContextsAreHonoured", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		over, cancel := context.WithCancel(t.Context())
		cancel()
		require.ErrorIs(t, s.Do(over, s.Bury(letter(1))), context.Canceled)
		_, err := s.Letters(over, store.LetterQuery{})
		require.ErrorIs(t, err, context.Canceled)
		require.NotEqual(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	})
}
