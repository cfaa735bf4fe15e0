package pgstore

import (
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place is a schema of the test's own.
func place(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	return storetest.Schema(t)
}

var harness = storetest.Harness{
	Place: place,
	Open: func(t testing.TB, place string, opts store.Options) store.Store {
		s, err := Open(t.Context(), place, opts)
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	},
}

func TestStore(t *testing.T) {
	t.Parallel()
	storetest.Exercise(t, harness)
}

// TestInvalid: what the server can take at no time is told from a server that
// is away.
func TestInvalid(t *testing.T) {
	t.Parallel()
	s := harness.Open(t, place(t), store.Options{})
	err := s.Do(t.Context(), s.Delay(store.DelayedMessage{Handler: "no text \x00", Message: "m"}))
	require.ErrorIs(t, err, store.ErrInvalid)
	require.NotErrorIs(t, err, store.ErrUnavailable)
}

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, harness) }
