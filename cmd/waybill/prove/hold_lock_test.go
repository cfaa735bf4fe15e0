package prove

import (
	"bufio"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"testing"

	"github.com/stretchr/testify/require"
)

// lockEnv has this test binary lock a SQLite file, as a backup or a shell
// would, until its input ends.
const lockEnv = "PROVE_LOCK"

func holdLock(path string) {
	db, err := sql.Open("sqlite", path)
	giveUp(err)
	db.SetMaxOpenConns(1)
	_, err = db.Exec("PRAGMA busy_timeout = 60000")
	giveUp(err)
	_, err = db.Exec("BEGIN EXCLUSIVE")
	giveUp(err)
	fmt.Println("locked")
	_, _ = os.Stdin.Read(make([]byte, 1))
	os.Exit(0)
}

// lock has another process lock the file until release is called.
func lock(t *testing.T, path string) (release func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), lockEnv+"="+path)
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	out, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	t.Cleanup(func() { // if the test ended early
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	require.NoError(t, err)
	require.Equal(t, "locked\n", line)
	return func() {
		require.NoError(t, in.Close())
		require.NoError(t, cmd.Wait())
	}
}
