package storetest

import (
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

func documents(t *testing.T, h Harness) {
	const key = "order-7\x00\xff"
	first := store.SaveParams{Handler: "track", Key: key, Value: []byte("\x00\xff one")}

	t.Run("SavedInPlaceOfTheVersionThatWasRead", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		require.Equal(t, store.Document{}, document(t, s, "track", key))
		do(t, s, s.SaveDocument(first))
		d := document(t, s, "track", key)
		require.Equal(t, store.Document{Value: first.Value, Version: 1}, d)
		require.Equal(t, store.Document{}, document(t, s, "other", key), "a key is the handler's own")

		do(t, s, s.SaveDocument(store.SaveParams{Handler: "track", Key: key, Version: d.Version}))
		d = document(t, s, "track", key)
		require.Equal(t, int64(2), d.Version)
		require.Empty(t, d.Value)
	})

	t.Run("AnotherVersionIsAConflict", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		do(t, s, s.SaveDocument(first))
		for _, version := range []int64{0, 2, -1} {
			late := first
			late.Version, late.Value = version, []byte("late")
			err := s.Do(t.Context(), s.SaveDocument(late))
			require.ErrorIs(t, err, store.ErrConflict, "version %d", version)
		}
		require.Equal(t, store.Document{Value: first.Value, Version: 1}, document(t, s, "track", key))
		gone := store.SaveParams{Handler: "track", Key: "nobody's", Version: 3}
		require.ErrorIs(t, s.Do(t.Context(), s.SaveDocument(gone)), store.ErrConflict)
	})

	t.Run("GoneWithItsTransaction", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		broken := errors.New("broken")
		require.ErrorIs(t, s.Do(t.Context(), s.SaveDocument(first), func(any) error { return broken }), broken)
		require.Equal(t, store.Document{}, document(t, s, "track", key))
	})

	t.Run("OneOfManyWins", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for version := range int64(3) { // the first is an insert, the others are updates
			var won atomic.Int32
			var wg sync.WaitGroup
			for range 16 {
				wg.Go(func() {
					err := s.Do(t.Context(), s.SaveDocument(store.SaveParams{Handler: "track", Key: key, Version: version}))
					switch {
					case err == nil:
						won.Add(1)
					case !errors.Is(err, store.ErrConflict):
						t.Error(err)
					}
				})
			}
			wg.Wait()
			require.Equal(t, int32(1), won.Load())
		}
	})

	t.Run("Expire", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		for _, key := range strings.Fields("a b c") {
			do(t, s, s.SaveDocument(store.SaveParams{Handler: "track", Key: key, Keep: time.Hour}))
		}
		do(t, s, s.SaveDocument(store.SaveParams{Handler: "track", Key: "for ever"}))
		n, err := s.ExpireDocuments(t.Context(), 2)
		require.NoError(t, err)
		require.Zero(t, n, "their time is not over")
		c.add(time.Hour)
		do(t, s, s.SaveDocument(store.SaveParams{Handler: "track", Key: "a", Version: 1, Keep: time.Hour}))
		do(t, s, s.SaveDocument(store.SaveParams{Handler: "track", Key: "d", Keep: time.Second}))
		for _, want := range []int{1, 1, 0} {
			n, err = s.ExpireDocuments(t.Context(), 1)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
		for key, version := range map[string]int64{"a": 2, "b": 0, "c": 0, "d": 1, "for ever": 1} {
			require.Equal(t, version, document(t, s, "track", key).Version, key)
		}
	})
}

func document(t *testing.T, s store.Store, handler, key string) store.Document {
	t.Helper()
	d, err := s.Document(t.Context(), handler, key)
	require.NoError(t, err)
	return d
}
