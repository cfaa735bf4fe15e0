package kafkabroker

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

// newNode returns a Kafka of its own, for tests to kill.
func newNode(t testing.TB) *brokertest.Node {
	_, addr, dir := privateNode(t)
	node := &brokertest.Node{
		Open:   cluster(addr).open,
		Start:  func(t testing.TB) { runNode(t, "start", dir, addr) },
		Kill:   func(t testing.TB) { runNode(t, "kill", dir, addr) },
		Freeze: func(t testing.TB) { brokertest.Freeze(t, nodePID(dir)) },
		Thaw:   func(testing.TB) { brokertest.Thaw(nodePID(dir)) },
	}
	if !raceDetector { // Watermill's TestReconnect has a race of its own
		node.RestartCommand = []string{"sh", "-c", fmt.Sprintf("%[1]s kafka kill %[2]s && %[1]s kafka start %[2]s", nodeScript(t), dir)}
	}
	return node
}

// privateNode prepares a node and has it killed when the test ends.
func privateNode(t testing.TB) (cluster, string, string) {
	if testing.Short() {
		t.Skip("-short: no real Kafka")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	t.Cleanup(func() {
		brokertest.Thaw(nodePID(dir))
		runNode(t, "kill", dir, addr)
	})
	return cluster(addr), addr, dir
}

func nodeScript(t testing.TB) string {
	script, err := filepath.Abs("../../../deploy/local/node")
	require.NoError(t, err)
	return script
}

func runNode(t testing.TB, verb, dir, addr string, env ...string) {
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	args := []string{"kafka", verb, dir}
	if verb == "start" {
		args = append(args, port)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, nodeScript(t), args...)
	cmd.Env = append(os.Environ(), env...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && verb == "start" {
		require.NoError(t, err, out.String())
	}
}

func nodePID(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}
