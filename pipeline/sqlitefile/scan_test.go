package sqlitefile_test

import (
	"context"
	"database/sql/driver"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
)

// The driver closes a connection whose query was interrupted. A statement that
// was prepared on it and kept would then crash the process.
func TestScan_KeepsClearOfInterruptedQueries(t *testing.T) {
	t.Parallel()
	f, err := sqlitefile.Open(filepath.Join(t.TempDir(), "x.db"), sqlitefile.Options{})
	require.NoError(t, err)
	scan := func() {
		n := int64(0)
		require.NoError(t, f.Scan(t.Context(), "SELECT 41 + 1", func(v []driver.Value) bool { n = v[0].(int64); return true }))
		require.EqualValues(t, 42, n)
	}
	const endless = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x+1 FROM c) SELECT count(*) FROM c"
	for range 3 {
		scan()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
		err := f.Reader().QueryRowContext(ctx, endless).Scan(new(int))
		cancel()
		require.Error(t, err)
		scan()
	}
	require.NoError(t, f.Close())
}
