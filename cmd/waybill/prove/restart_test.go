package prove

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
)

// recovery is how soon after the broker's port opens messages must flow again.
const recovery = 5 * time.Second

// TestBrokerRestart: the broker is killed and started again under load. The
// process stays up, nothing is lost, and it consumes again soon.
func TestBrokerRestart(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no server")
	}
	for _, driver := range []string{"rabbitmq", "kafka"} {
		t.Run(driver, func(t *testing.T) {
			n := sizes()
			l := ledger{Test: "broker SIGKILL", Broker: driver}
			since := begin()
			node := startNode(t, driver)
			work := prepare(2_000)
			if driver == "rabbitmq" {
				// RabbitMQ 3.10 makes the ring of a consistent-hash exchange anew
				// when it recovers, so that keys move between partitions: see
				// docs/guarantees.md.
				work.partitions = 1
			}
			p := newPlant(t, node.place, work)
			offered, payloads := makeOrders(n.orders/2, n.orders/40)
			half := len(payloads) / 2
			p.feed(t, p, payloads[:half])
			// RabbitMQ 3.10 writes the names of new quorum queues to disk some
			// seconds late (ra's directory is a dets table): one that is killed
			// before has forgotten the queue, whatever it had confirmed. That
			// is the broker's own; a stop in order makes it write them.
			node.run("stop")
			node.restart()
			run := p.start(t)
			feeding := p.feedLive(t, payloads[half:])
			for l.Kills < n.restarts {
				flowing := run.processed()
				run.await(func() bool { return run.processed() > flowing+100 }, "messages flow before the kill")
				node.run("kill")
				l.Kills++
				opened := node.restart()
				before := run.processed()
				run.await(func() bool { return run.processed() > before }, "messages flow after the restart")
				l.Recovery = append(l.Recovery, time.Since(opened).Seconds())
			}
			require.NoError(t, <-feeding)
			run.await(func() bool { return run.waiting() == 0 }, "all is done")
			run.stop()
			p.verdict(t, &l, offered)
			enter(t, l, since)
			t.Run("2-W2 what was confirmed outlives the broker's SIGKILL", func(t *testing.T) {
				require.Zero(t, l.Lost, "lost")
				require.Zero(t, l.Unexpected, "never offered")
			})
			require.Zero(t, l.Disorders, "out of order within a key")
			if full {
				for _, s := range l.Recovery {
					require.LessOrEqual(t, s, recovery.Seconds(), "seconds until messages flowed again")
				}
			}
		})
	}
}

// feedLive publishes while brokers die, sending again under the same id what
// was not confirmed.
func (p *plant) feedLive(t *testing.T, payloads [][]byte) <-chan error {
	t.Helper()
	b := p.open(t)
	done := make(chan error, 1)
	go func() {
		defer close(done)
		for i, payload := range payloads {
			for {
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				err := b.Publisher().Publish(p.in, message.NewMessageWithContext(ctx, fmt.Sprintf("live-%d", i), payload))
				cancel()
				if err == nil {
					break
				}
				if t.Context().Err() != nil {
					done <- err
					return
				}
			}
		}
	}()
	return done
}

// node is a private broker.
type node struct {
	place
	t    *testing.T
	dir  string
	port string
}

func startNode(t *testing.T, driver string) *node {
	t.Helper()
	n := &node{t: t, dir: filepath.Join(t.TempDir(), "node")}
	t.Cleanup(func() { n.run("kill") })
	n.run("start")
	port, err := os.ReadFile(filepath.Join(n.dir, "port"))
	require.NoError(t, err)
	n.port = strings.TrimSpace(string(port))
	n.place = place{driver: driver, url: "127.0.0.1:" + n.port, read: readKafka, feed: feedByCommand}
	if driver == "rabbitmq" {
		n.place.url, n.place.read = "amqp://guest:guest@127.0.0.1:"+n.port+"/", readRabbit
	}
	return n
}

// run calls the script that brings up the local brokers.
func (n *node) run(verb string) {
	n.t.Helper()
	name := "rabbitmq"
	if strings.Contains(n.t.Name(), "kafka") {
		name = "kafka"
	}
	args := []string{name, verb, n.dir}
	if verb == "start" && n.port != "" {
		args = append(args, n.port)
	}
	out, err := exec.Command(filepath.Join("..", "..", "..", "deploy", "local", "node"), args...).CombinedOutput()
	require.NoErrorf(n.t, err, "%s", out)
}

// restart starts the node again, and returns when its port opened.
func (n *node) restart() time.Time {
	n.t.Helper()
	up := make(chan struct{})
	go func() {
		defer close(up)
		n.run("start")
	}()
	opened := time.Time{}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for opened.IsZero() {
		if conn, err := net.Dial("tcp", "127.0.0.1:"+n.port); err == nil {
			opened = time.Now()
			_ = conn.Close()
			break
		}
		select {
		case <-tick.C:
		case <-n.t.Context().Done():
			require.Fail(n.t, "the test ended before the port opened")
		}
	}
	<-up
	return opened
}
