package sqlitefile

import (
	"database/sql"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// TestGuard_Replaced: with another file at its path, or none, a file takes no
// more writes, what was confirmed is in a copy, and the error says how to go on
// with that.
func TestGuard_Replaced(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, path string){
		"Garbage": func(t *testing.T, path string) {
			garbage := filepath.Join(filepath.Dir(path), "garbage")
			require.NoError(t, os.WriteFile(garbage, []byte(strings.Repeat("garbage", 10_000)), 0o600))
			require.NoError(t, os.Rename(garbage, path))
		},
		"Removed":    func(t *testing.T, path string) { require.NoError(t, os.Remove(path)) },
		"LogRemoved": func(t *testing.T, path string) { require.NoError(t, os.Remove(path+"-wal")) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openToClose(t)
			for i := range 100 {
				require.NoError(t, f.Write(t.Context(), insert(strconv.Itoa(i))))
			}
			harm(t, f.Path())
			err := f.Write(t.Context(), insert("too late"))
			require.ErrorContains(t, err, "replaced or removed")
			require.ErrorContains(t, err, "stop waybill, remove")
			require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
			require.ErrorContains(t, f.Damage(), "replaced or removed")
			require.ErrorContains(t, f.Write(t.Context(), insert("later")), "replaced or removed", "it stays so")
			require.NoError(t, f.Close())

			saved, err := filepath.Glob(f.Path() + ".rescued-*")
			require.NoError(t, err)
			require.Len(t, saved, 1)
			_ = os.Remove(f.Path())
			_ = os.Remove(f.Path() + "-wal")
			require.NoError(t, os.Rename(saved[0], f.Path()))
			f, err = Open(f.Path(), Options{Schema: testSchema})
			require.NoError(t, err)
			require.Equal(t, 100, count(t, f))
			require.NoError(t, f.Write(t.Context(), insert("on we go")))
			require.NoError(t, f.Close())
		})
	}
}

// TestGuard_Looks: damage is noticed also where nobody writes.
func TestGuard_Looks(t *testing.T) {
	t.Parallel()
	f := openTest(t)
	require.NoError(t, f.Damage())
	scribble(t, f.Path(), 0, strings.Repeat("garbage", 10))
	require.Eventually(t, func() bool { return f.Damage() != nil }, 10*time.Second, 10*time.Millisecond)
	require.ErrorContains(t, f.Damage(), "it was overwritten: stop waybill, and restore "+f.Path()+" from a backup")
	require.Error(t, f.Write(t.Context(), insert("refused")))
}

// TestOpen_Damaged: a file whose pages make no sense is not opened, and the
// error says which it is and what to do.
func TestOpen_Damaged(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(t *testing.T, path string){
		"Garbage":   func(t *testing.T, path string) { scribble(t, path, 0, strings.Repeat("garbage", 10_000)) },
		"Truncated": func(t *testing.T, path string) { require.NoError(t, os.Truncate(path, 5<<14)) },
		"FlippedBit": func(t *testing.T, path string) {
			file, err := os.ReadFile(path)
			require.NoError(t, err)
			file[1<<14+3] ^= 0x40 // how many cells the second page has
			require.NoError(t, os.WriteFile(path, file, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := openToClose(t)
			for i := range 20 {
				require.NoError(t, f.Write(t.Context(), insert(strings.Repeat(strconv.Itoa(i), 8000))))
			}
			require.NoError(t, f.Close())
			harm(t, f.Path())
			_, err := Open(f.Path(), Options{Schema: testSchema})
			require.ErrorContains(t, err, "the file is damaged")
			require.ErrorContains(t, err, "stop waybill, and restore "+f.Path()+" from a backup")
			require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
		})
	}
}

// TestWrite_Locked: while another program has the file locked, writes fail
// with the next step, and go on by themselves after that.
func TestWrite_Locked(t *testing.T) {
	t.Parallel()
	f := openTest(t)
	other, err := sql.Open("sqlite", f.Path())
	require.NoError(t, err)
	defer other.Close()
	other.SetMaxOpenConns(1)
	_, err = other.Exec("BEGIN IMMEDIATE")
	require.NoError(t, err)
	err = f.Write(t.Context(), insert("locked out"))
	require.ErrorContains(t, err, "another program has locked "+f.Path())
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	_, err = other.Exec("ROLLBACK")
	require.NoError(t, err)
	require.NoError(t, f.Write(t.Context(), insert("free again")))
	require.Equal(t, 1, count(t, f))
}

// openToClose is openTest for a test that closes the file itself.
func openToClose(t *testing.T) *File {
	t.Helper()
	f, err := Open(filepath.Join(t.TempDir(), "test.db"), Options{Schema: testSchema})
	require.NoError(t, err)
	return f
}

// scribble writes over a file in place.
func scribble(t *testing.T, path string, at int64, text string) {
	t.Helper()
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte(text), at)
	require.NoError(t, err)
	require.NoError(t, file.Close())
}
