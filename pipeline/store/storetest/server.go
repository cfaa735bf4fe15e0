package storetest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Server is a PostgreSQL of the test's own, which may be harmed.
type Server struct {
	t   testing.TB
	dir string
}

// StartServer starts one that goes with the test. The package that is tested
// stands three folders below the top of the repository.
func StartServer(t testing.TB) *Server {
	t.Helper()
	s := &Server{t: t, dir: t.TempDir()}
	s.Start()
	t.Cleanup(func() { s.node("kill") })
	return s
}

// URL is that of its database.
func (s *Server) URL() string {
	s.t.Helper()
	port, err := os.ReadFile(filepath.Join(s.dir, "port"))
	require.NoError(s.t, err)
	return "postgres://waybill:waybill@127.0.0.1:" + strings.TrimSpace(string(port)) + "/waybill"
}

// Start starts it again with the data and on the port that it had.
func (s *Server) Start() {
	s.t.Helper()
	s.node("start")
}

// Kill ends all its processes at one moment, as a power cut would. Sessions
// would end what they do where only the server's own process is killed.
func (s *Server) Kill() {
	s.t.Helper()
	s.Signal(syscall.SIGSTOP)
	s.Signal(syscall.SIGKILL)
	s.node("kill")
}

// KillServer kills the server's own process.
func (s *Server) KillServer() {
	s.t.Helper()
	s.node("kill")
}

// Signal is sent to all its processes.
func (s *Server) Signal(sig syscall.Signal) {
	s.t.Helper()
	for pid := range s.Processes() {
		_ = syscall.Kill(pid, sig) // one that has ended since is no matter
	}
}

// Processes are the server's own and those of its sessions, by what they call
// themselves.
func (s *Server) Processes() map[int]string {
	s.t.Helper()
	dir, err := filepath.EvalSymlinks(s.dir)
	require.NoError(s.t, err)
	places, err := filepath.Glob("/proc/[0-9]*/cwd")
	require.NoError(s.t, err)
	found := make(map[int]string)
	for _, place := range places {
		if cwd, err := os.Readlink(place); err != nil || cwd != filepath.Join(dir, "data") {
			continue // or it has just ended
		}
		pid, err := strconv.Atoi(strings.Split(place, "/")[2])
		require.NoError(s.t, err)
		title, _ := os.ReadFile(filepath.Join(filepath.Dir(place), "cmdline"))
		found[pid] = string(title)
	}
	require.NotEmpty(s.t, found)
	return found
}

func (s *Server) node(verb string) {
	s.t.Helper()
	script, err := filepath.Abs("../../../deploy/local/node")
	require.NoError(s.t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, script, "postgres", verb, s.dir) //nolint:gosec // the repository's own script
	cmd.WaitDelay = time.Second                                      // the server inherits the output
	if out, err := cmd.CombinedOutput(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		require.NoError(s.t, err, string(out))
	}
}
