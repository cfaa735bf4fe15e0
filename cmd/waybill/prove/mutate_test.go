//go:build mutation

package prove

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

// TestMutations: each of them makes its check fail. See the folder's README.
func TestMutations(t *testing.T) {
	top, err := filepath.Abs("../../..")
	require.NoError(t, err)
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			overlay := brokertest.Overlay(t, filepath.Join(top, m.file), m.old, m.new)
			cmd := exec.Command("go", "test", "-count=1", "-timeout=6m", "-run", m.test, m.pkg)
			cmd.Dir = top
			cmd.Env = append(os.Environ(), "GOFLAGS=-overlay="+overlay) // of the binary too, which the test builds
			out, err := cmd.CombinedOutput()
			require.Error(t, err, "%s passed although the product is broken:\n%s", m.test, out)
			require.Contains(t, string(out), "--- FAIL: ", "it is the test that fails, not the build:\n%s", out)
		})
	}
}
