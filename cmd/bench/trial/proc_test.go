package trial

import (
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestUsage: what this very process uses is seen, in the right unit.
func TestUsage(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		_, err := cpu(os.Getpid())
		require.Error(t, err, "it reads /proc")
		return
	}
	before, err := cpu(os.Getpid())
	require.NoError(t, err)
	began := time.Now()
	after := before
	for after-before < 100*time.Millisecond {
		after, err = cpu(os.Getpid())
		require.NoError(t, err)
	}
	cores := time.Duration(runtime.NumCPU())
	require.LessOrEqual(t, after-before, cores*(time.Since(began)+2*tick), "no more than there was")
	mb, err := peak(os.Getpid())
	require.NoError(t, err)
	require.Greater(t, mb, 1.0)
	require.Less(t, mb, 10_000.0)
	_, err = cpu(1 << 30)
	require.Error(t, err)
	_, err = peak(1 << 30)
	require.Error(t, err)
}
