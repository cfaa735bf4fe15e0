package storetest

import (
	"context"
	"crypto/rand"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// Schema makes a schema on the PostgreSQL under POSTGRES_URL that goes with the
// test, and returns the URL with it as the search path. A server that should
// be there and is not is a failure.
func Schema(t testing.TB) string {
	t.Helper()
	server := os.Getenv("POSTGRES_URL")
	require.NotEmpty(t, server, "POSTGRES_URL is not set: run `make brokers`, or test with -short")
	schema := "test_" + strings.ToLower(rand.Text()[:12])
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
