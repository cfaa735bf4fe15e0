package brokertest

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Freeze stops a process of a broker as SIGSTOP does, and returns when each
// of its threads stands still. The signal alone is not enough: the kernel
// gives it to one thread, which stops the others when it gets to run. On a
// busy machine a message is confirmed until then.
func Freeze(t testing.TB, pid int) {
	t.Helper()
	require.NoError(t, syscall.Kill(pid, syscall.SIGSTOP))
	require.Eventually(t, func() bool { return frozen(pid) }, 20*time.Second, time.Millisecond, "process %d stands still", pid)
}

// Thaw undoes Freeze. A process that is gone or runs is left alone.
func Thaw(pid int) {
	if pid > 0 {
		_ = syscall.Kill(pid, syscall.SIGCONT)
	}
}

// frozen reports whether all threads of a process are stopped. Where the
// system does not say, they are taken to be.
func frozen(pid int) bool {
	stats, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", pid))
	for _, path := range stats {
		stat, err := os.ReadFile(path) //nolint:gosec // of a process that the test started
		if err != nil {
			continue // the thread has just ended
		}
		// The state follows the command, which is in brackets and may hold any.
		_, state, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')'):], []byte(" "))
		if !bytes.HasPrefix(state, []byte("T")) {
			return false
		}
	}
	return true
}
