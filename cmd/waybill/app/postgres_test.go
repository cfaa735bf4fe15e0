package app

import (
	"context"
	"crypto/rand"
	"net/url"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"
)

// postgres makes a schema that goes with the test, and returns the URL of a
// store in it.
func postgres(t *testing.T) string {
	t.Helper()
	server := needEnv(t, "POSTGRES_URL")
	schema := "app_" + strings.ToLower(rand.Text()[:12])
	run := func(statement string) {
		conn, err := pgx.Connect(context.Background(), server)
		require.NoError(t, err)
		_, err = conn.Exec(context.Background(), statement)
		require.NoError(t, err)
		require.NoError(t, conn.Close(context.Background()))
	}
	run("CREATE SCHEMA " + schema)
	t.Cleanup(func() { run("DROP SCHEMA " + schema + " CASCADE") })
	u, err := url.Parse(server)
	require.NoError(t, err)
	q := u.Query()
	q.Set("search_path", schema)
	u.RawQuery = q.Encode()
	return u.String()
}
