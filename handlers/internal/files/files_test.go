package files_test

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/internal/files"
)

func TestSecret(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	for text, want := range map[string]string{
		"pass":       "pass",
		"pass\n":     "pass",
		"pass\r\n":   "pass",
		"pass\n\n":   "pass\n",
		" pass word": " pass word",
	} {
		path := write(t, dir, text)
		secret, err := files.Secret(dir, filepath.Base(path))
		require.NoError(t, err)
		require.Equal(t, want, secret.Reveal())
		require.NotContains(t, fmt.Sprint(secret), "pass")

		absolute, err := files.Secret("elsewhere", path)
		require.NoError(t, err)
		require.Equal(t, secret, absolute)
	}
}

func TestSecret_Refuses(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	_, err := files.Secret(dir, "missing")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = files.Secret(dir, write(t, dir, "\n"))
	require.ErrorContains(t, err, "holds no secret")
}

func TestRoots(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool, err := files.Roots(dir, "")
	require.NoError(t, err)
	require.Nil(t, pool, "the system's")
	_, err = files.Roots(dir, "missing")
	require.ErrorIs(t, err, os.ErrNotExist)
	_, err = files.Roots(dir, write(t, dir, "no certificate"))
	require.ErrorContains(t, err, "no PEM certificate")
}

func write(t *testing.T, dir, text string) string {
	t.Helper()
	path := filepath.Join(dir, fmt.Sprintf("%x", text))
	require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
	return path
}
