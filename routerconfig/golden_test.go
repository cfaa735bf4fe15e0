package routerconfig_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/routerconfig"
)

// testEnv is the environment of all test files.
func testEnv(name string) (string, bool) {
	value, ok := map[string]string{"TEXT": "four", "NUMBER": "1000", "A": "1"}[name]
	return value, ok
}

func testOptions(set ...string) routerconfig.Options {
	return routerconfig.Options{Kinds: testKinds(), Env: testEnv, Set: set}
}

// eachFile runs a parallel subtest for every file of testdata that fits.
func eachFile(t *testing.T, pattern string, run func(t *testing.T, path string)) {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	require.NoError(t, err)
	require.NotEmpty(t, paths)
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".yaml"), func(t *testing.T) {
			t.Parallel()
			run(t, path)
		})
	}
}

// requireGolden compares with the file beside path that ends in .want.
func requireGolden(t *testing.T, path, got string) {
	t.Helper()
	want := strings.TrimSuffix(path, ".yaml") + ".want"
	if *update {
		require.NoError(t, os.WriteFile(want, []byte(got), 0o644))
	}
	text, err := os.ReadFile(want)
	require.NoError(t, err)
	require.Equal(t, string(text), got)
}

// TestLoad_Good: good.*.yaml load without a warning; their .want is the echo.
func TestLoad_Good(t *testing.T) {
	t.Parallel()
	eachFile(t, "good.*.yaml", func(t *testing.T, path string) {
		loaded, err := routerconfig.Load(path, testOptions())
		require.NoError(t, err)
		if !strings.Contains(path, "full") {
			require.Empty(t, loaded.Warnings)
		}
		requireGolden(t, path, string(loaded.Echo()))
	})
}

// TestLoad_Bad: bad.*.yaml do not load; their .want is all that is wrong.
func TestLoad_Bad(t *testing.T) {
	t.Parallel()
	eachFile(t, "bad.*.yaml", func(t *testing.T, path string) {
		_, err := routerconfig.Load(path, testOptions())
		var findings routerconfig.Findings
		require.ErrorAs(t, err, &findings)
		require.True(t, findings.HasErrors())
		require.NotContains(t, err.Error(), "hunter2", "a secret is shown")
		requireGolden(t, path, err.Error()+"\n")
	})
}

// TestLoad_Warnings: warn.*.yaml load; their .want is what is probably not
// meant.
func TestLoad_Warnings(t *testing.T) {
	t.Parallel()
	eachFile(t, "warn.*.yaml", func(t *testing.T, path string) {
		loaded, err := routerconfig.Load(path, testOptions())
		require.NoError(t, err)
		require.False(t, loaded.Warnings.HasErrors())
		requireGolden(t, path, loaded.Warnings.Error()+"\n")
	})
}

func TestLoad_NoSuchFile(t *testing.T) {
	t.Parallel()
	_, err := routerconfig.Load("testdata/none.yaml", testOptions())
	require.ErrorIs(t, err, os.ErrNotExist)
}
