//go:build linux

package prove

import (
	"bufio"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/cmd/waybill/prove/disktest"
)

// TestPowerLoss_Store: the power fails at random under writes of dead letters,
// receipts and delayed messages. What was confirmed is there, whole; the
// message log, which may lose its last moments, opens.
func TestPowerLoss_Store(t *testing.T) {
	n := sizes()
	chance, seed := newChance()
	l := ledger{Test: "power loss, store", Broker: "none", Seed: seed}
	since := begin()
	dir := t.TempDir()
	disk := disktest.Mount(t, dir)
	confirmed := make(map[string]bool)
	for l.Cuts < n.cuts {
		use := useStore(t, filepath.Join(dir, "waybill.db"))
		l.Lost += use.missing(confirmed)
		use.kill(1+chance.IntN(100), time.Duration(chance.IntN(5_000))*time.Microsecond, confirmed)
		disk.Cut(everyOther(l.Cuts, chance))
		l.Cuts++
	}
	use := useStore(t, filepath.Join(dir, "waybill.db"))
	l.Lost += use.missing(confirmed)
	l.Offered, l.Out = len(confirmed), len(use.there)
	enter(t, l, since)
	require.Zero(t, l.Lost, "lost")
	require.Empty(t, use.torn, "a letter, a receipt and a delayed message of one transaction are not all there")
}

// storeUse is one life of a process that writes to a store.
type storeUse struct {
	t     *testing.T
	cmd   *exec.Cmd
	lines *bufio.Scanner
	there map[string]bool
	torn  []string
}

// useStore starts the process and returns when it has told what is there.
func useStore(t *testing.T, path string) *storeUse {
	t.Helper()
	u := &storeUse{t: t, cmd: exec.Command(os.Args[0]), there: make(map[string]bool)}
	u.cmd.Env = append(os.Environ(), storeEnv+"="+path)
	out, err := u.cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, u.cmd.Start())
	t.Cleanup(func() { // if the test ended early
		_ = u.cmd.Process.Kill()
		_ = u.cmd.Wait()
	})
	u.lines = bufio.NewScanner(out)
	for u.lines.Scan() {
		switch what, name, _ := strings.Cut(u.lines.Text(), " "); what {
		case "whole":
			u.there[name] = true
		case "torn":
			u.torn = append(u.torn, name)
		case "writing":
			return u
		default:
			require.Fail(t, "the store does not open", u.lines.Text())
		}
	}
	require.Fail(t, "the process has ended", u.cmd.Wait())
	return nil
}

// missing is how many of the confirmed are not there.
func (u *storeUse) missing(confirmed map[string]bool) int {
	n := 0
	for name := range confirmed {
		if !u.there[name] {
			n++
		}
	}
	return n
}

// kill kills the process some time after it has confirmed n more, and notes
// all that it has confirmed.
func (u *storeUse) kill(n int, after time.Duration, confirmed map[string]bool) {
	u.t.Helper()
	for seen := 1; u.lines.Scan(); seen++ {
		what, name, _ := strings.Cut(u.lines.Text(), " ")
		require.Equal(u.t, "put", what, u.lines.Text())
		confirmed[name] = true
		if seen == n {
			time.AfterFunc(after, func() { _ = u.cmd.Process.Kill() })
		}
	}
	require.Error(u.t, u.cmd.Wait(), "it was killed")
}
