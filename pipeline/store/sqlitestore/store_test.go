package sqlitestore

import (
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var harness = storetest.Harness{
	Place: func(t testing.TB) string { return filepath.Join(t.TempDir(), "waybill.db") },
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

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, harness) }
