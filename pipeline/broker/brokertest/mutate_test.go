//go:build mutation

package brokertest

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestMutations: each of them makes its test fail. It builds the product once
// for each, which takes minutes:
//
//	go test -tags mutation -run TestMutations -v ./pipeline/broker/brokertest
func TestMutations(t *testing.T) {
	t.Parallel()
	for _, m := range mutations {
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			overlay := Overlay(t, filepath.Join("..", m.file), m.old, m.new)
			out, err := exec.Command("go", "test", "-overlay", overlay, "-short", "-count=1", "-timeout=5m",
				"-run", "^TestConformance$/^Guarantees$/^"+m.fails+"$", "../embedbroker").CombinedOutput()
			require.Error(t, err, "%s passed:\n%s", m.fails, out)
			require.Contains(t, string(out), "--- FAIL: TestConformance/Guarantees/"+m.fails, "it is the test that fails, not the build")
		})
	}
}
