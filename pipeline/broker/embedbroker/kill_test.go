package embedbroker

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

// loadEnv has this test binary put load on a file until it is killed.
const loadEnv = "EMBEDBROKER_TEST_LOAD"

func TestMain(m *testing.M) {
	if path := os.Getenv(loadEnv); path != "" {
		load(path)
	}
	goleak.VerifyTestMain(m, brokertest.Leaks()...)
}

// load publishes to orders, and moves orders to out by Commit, for ever. It
// prints a line after each confirmed publish and each commit.
func load(path string) {
	b, err := Open(pipeline.Broker{Path: path}, broker.Options{
		Topic: func(name string) (pipeline.Topic, bool) { return pipeline.Topic{Name: name}, true },
		Log:   slog.Default(),
	})
	check(err)
	sub := testSub("h")
	check(b.Provision(context.Background(), []pipeline.Topic{testTopic}, []broker.Subscription{sub}))
	var mu sync.Mutex
	say := func(what, id string) {
		mu.Lock()
		defer mu.Unlock()
		fmt.Fprintln(os.Stdout, what, id)
	}
	for p := range 8 {
		go func() {
			for n := 0; ; n++ {
				msg := message.NewMessage(fmt.Sprintf("%d-%d-%d", os.Getpid(), p, n), make([]byte, 300))
				check(b.Publisher().Publish(testTopic.Name, msg))
				say("published", msg.UUID)
			}
		}()
	}
	s := broker.NewSubscriber(sub, b.Source(sub), slog.Default())
	messages, err := s.Subscribe(context.Background(), testTopic.Name)
	check(err)
	for msg := range messages {
		go func() {
			check(b.(broker.Committer).Commit(msg.Context(), msg, []broker.Outgoing{
				{Topic: "out", Message: message.NewMessage(msg.UUID, msg.Payload)},
			}))
			say("committed", msg.UUID)
			msg.Ack()
		}()
	}
}

func check(err error) {
	if err != nil {
		fmt.Fprintln(os.Stdout, "error", err)
		os.Exit(1)
	}
}

// TestKill: the process is killed at random under load. All that it had
// confirmed is there, what it had committed has its output once and is never
// handed out again, and the rest is.
func TestKill(t *testing.T) {
	t.Parallel()
	kills := 6
	if testing.Short() {
		kills = 2
	}
	path := filepath.Join(t.TempDir(), "waybill.db")
	published, committed := make(map[string]bool), make(map[string]bool)
	for range kills {
		runAndKill(t, path, published, committed)

		b := openTest(t, path)
		require.Subset(t, keys(listed(t, b, testTopic.Name)), published)
		outputs := keys(listed(t, b, "out"))
		require.Len(t, listed(t, b, "out"), len(outputs), "outputs that are there twice")
		require.Subset(t, outputs, committed)
		require.NoError(t, b.Close())
	}
	t.Logf("%d published, %d committed", len(published), len(committed))
	require.NotEmpty(t, committed)

	// What is left is handed out, and nothing else.
	b := openTest(t, path)
	all, done := listed(t, b, testTopic.Name), keys(listed(t, b, "out"))
	sub := testSub("h")
	s := broker.NewSubscriber(sub, b.Source(sub), slog.New(slog.DiscardHandler))
	messages, err := s.Subscribe(context.Background(), testTopic.Name)
	require.NoError(t, err)
	for range len(all) - len(done) {
		msg := <-messages
		require.False(t, done[msg.UUID], "%s is committed", msg.UUID)
		msg.Ack()
	}
	require.NoError(t, s.Drain(t.Context()))
	rows, err := b.Inspect(t.Context(), nil, []broker.Subscription{sub})
	require.NoError(t, err)
	require.Zero(t, rows[0].Ready)
}

// runAndKill lets the load run for a while and notes what it says.
func runAndKill(t *testing.T, path string, published, committed map[string]bool) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), loadEnv+"="+path)
	stdout, err := cmd.StdoutPipe()
	require.NoError(t, err)
	require.NoError(t, cmd.Start())
	var kill *time.Timer
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		what, id, _ := strings.Cut(lines.Text(), " ")
		switch what {
		case "published":
			published[id] = true
		case "committed":
			committed[id] = true
			if kill == nil { // from the first commit on
				kill = time.AfterFunc(time.Duration(rand.IntN(400))*time.Millisecond, func() { _ = cmd.Process.Kill() })
			}
		default:
			require.Fail(t, "the load says", lines.Text())
		}
	}
	require.Error(t, cmd.Wait(), "it was killed")
}

func keys(ids []string) map[string]bool {
	set := make(map[string]bool, len(ids))
	for _, id := range ids {
		set[id] = true
	}
	return set
}
