package routerconfig_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/routerconfig"
)

// FuzzLoad: whatever the file, loading ends, and every finding has a place in
// it, a text on one line, and a pointer. What loads can be echoed.
func FuzzLoad(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.yaml")
	require.NoError(f, err)
	for _, path := range paths {
		text, err := os.ReadFile(path)
		require.NoError(f, err)
		f.Add(text, "handlers.one.concurrency=4")
	}
	f.Fuzz(func(t *testing.T, text []byte, set string) {
		checkLoad(t, text)
		checkLoad(t, text, set)
	})
}

func checkLoad(t *testing.T, text []byte, set ...string) {
	t.Helper()
	loaded, err := routerconfig.LoadBytes("testdata/fuzz.yaml", text, testOptions(set...))
	var findings routerconfig.Findings
	if errors.As(err, &findings) {
		require.True(t, findings.HasErrors())
		requireInside(t, text, findings)
		return
	}
	require.NoError(t, err)
	requireInside(t, text, loaded.Warnings)
	_, err = routerconfig.LoadBytes("testdata/fuzz.yaml", loaded.Echo(), testOptions())
	if err != nil {
		require.ErrorContains(t, err, "this is a secret that echo has hidden", "%s", loaded.Echo())
	}
}

func requireInside(t *testing.T, text []byte, findings routerconfig.Findings) {
	t.Helper()
	lines := strings.Split(strings.TrimPrefix(string(text), "\ufeff"), "\n")
	for _, f := range findings {
		require.NotContains(t, f.String(), "\n")
		require.True(t, f.Pointer == "" || strings.HasPrefix(f.Pointer, "/"), f.Pointer)
		if f.File == "--set" {
			require.Zero(t, f.Line)
			continue
		}
		require.Equal(t, "testdata/fuzz.yaml", f.File)
		require.GreaterOrEqual(t, f.Line, 1)
		require.LessOrEqual(t, f.Line, len(lines))
		require.GreaterOrEqual(t, f.Column, 1)
		require.LessOrEqual(t, f.Column, utf8.RuneCountInString(lines[f.Line-1])+1)
	}
}
