package brokertest

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Overlay breaks the product in one place: it returns a file for go's -overlay
// in which the source file at path has substitute in the place of old, which
// must be there once.
func Overlay(t testing.TB, path, old, substitute string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	require.NoError(t, err)
	source, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(source), old), "%s has changed: mend this mutation", path)
	folder := t.TempDir()
	mutant, overlay := filepath.Join(folder, "mutant.go"), filepath.Join(folder, "overlay.json")
	require.NoError(t, os.WriteFile(mutant, []byte(strings.Replace(string(source), old, substitute, 1)), 0o600))
	list, err := json.Marshal(map[string]map[string]string{"Replace": {path: mutant}})
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(overlay, list, 0o600))
	return overlay
}
