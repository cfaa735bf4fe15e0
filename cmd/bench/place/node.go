package place

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// node is a server of our own, run by deploy/local/node.
type node struct {
	script, broker, dir string
	port, pid           int
}

func startNode(ctx context.Context, script, broker, dir string) (*node, error) {
	n := &node{script: script, broker: broker, dir: filepath.Join(dir, broker)}
	out, err := exec.CommandContext(ctx, script, broker, "start", n.dir).CombinedOutput()
	if err != nil {
		_ = n.stop()
		return nil, fmt.Errorf("start %s: %w: %s", broker, err, out)
	}
	if n.port, err = n.number("port"); err == nil {
		n.pid, err = n.number("pid")
	}
	if err != nil {
		_ = n.stop()
		return nil, err
	}
	return n, nil
}

func (n *node) number(file string) (int, error) {
	text, err := os.ReadFile(filepath.Join(n.dir, file))
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(string(text)))
}

func (n *node) address() string { return fmt.Sprintf("127.0.0.1:%d", n.port) }

// stop ends the server and removes its files; they are worth nothing.
func (n *node) stop() error {
	out, err := exec.Command(n.script, n.broker, "kill", n.dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("stop %s: %w: %s", n.broker, err, out)
	}
	return os.RemoveAll(n.dir)
}
