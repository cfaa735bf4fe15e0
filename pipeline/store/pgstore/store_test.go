package pgstore

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// place makes a schema that goes with the test, and returns the URL with it as
// the search path.
func place(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	server := os.Getenv("POSTGRES_URL")
	require.NotEmpty(t, server, "POSTGRES_URL is not set: run `make brokers`, or test with -short")
	schema := "store_" + strings.ToLower(rand.Text()[:12])
	run(t, server, "CREATE SCHEMA "+schema)
	t.Cleanup(func() { run(t, server, "DROP SCHEMA "+schema+" CASCADE") })
	u, err := url.Parse(server)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}

func run(t testing.TB, server, statement string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), server)
	require.NoError(t, err)
	_, err = conn.Exec(context.Background(), statement)
	require.NoError(t, err)
	require.NoError(t, conn.Close(context.Background()))
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

func BenchmarkStore(b *testing.B) { storetest.Benchmark(b, harness) }
