package sqlitefile

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestOpen_SchemasOfAll: everybody who opens a file has the tables that it
// asked for, whoever was first.
func TestOpen_SchemasOfAll(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "shared.db")
	one, err := Open(path, Options{})
	require.NoError(t, err)
	defer one.Close()
	two, err := Open(path, Options{Schema: testSchema})
	require.NoError(t, err)
	defer two.Close()
	require.NoError(t, one.Write(t.Context(), insert("x")))
	_, err = Open(path, Options{Schema: "CREATE TABEL"})
	require.ErrorContains(t, err, "make tables")
}

// TestMigrate: a tool changes tables while the file is in use, and statements
// that were prepared before go on.
func TestMigrate(t *testing.T) {
	t.Parallel()
	f := openTest(t)
	require.NoError(t, f.Write(t.Context(), insert("before")))
	require.NoError(t, f.Migrate(func(db *sql.DB) error {
		_, err := db.Exec("ALTER TABLE t ADD COLUMN more TEXT")
		return err
	}))
	require.NoError(t, f.Write(t.Context(), insert("after")))
	require.Equal(t, 2, count(t, f))
}
