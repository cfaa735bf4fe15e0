package prove

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if path := os.Getenv(storeEnv); path != "" {
		holdStore(path)
	}
	if path := os.Getenv(lockEnv); path != "" {
		holdLock(path)
	}
	code := m.Run()
	if err := writeBook(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	for _, dir := range built.dirs {
		_ = os.RemoveAll(dir)
	}
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// TestSIGKILL: the process is killed at random while it works through a
// backlog. Nothing is lost, and repeats keep the order of their key.
func TestSIGKILL(t *testing.T) {
	for _, at := range places(t) {
		t.Run(at.driver, func(t *testing.T) {
			n := sizes()
			random, seed := newChance()
			l := ledger{Test: "SIGKILL", Broker: at.driver, Seed: seed}
			since := begin()
			p := newPlant(t, at, prepare(pace(n.orders, n.kills, n.between)))
			offered, payloads := makeOrders(n.orders, n.orders/20)
			p.feed(t, p, payloads)
			for l.Kills < n.kills {
				run := p.start(t)
				pause(time.Duration(float64(n.between) * (0.5 + random.Float64())))
				require.Positivef(t, run.waiting(), "kill %d came after all was done: nothing would be proved", l.Kills+1)
				run.kill()
				l.Kills++
			}
			p.finish(t)
			p.verdict(t, &l, offered)
			enter(t, l, since)
			t.Run("0-W2 nothing is lost between publish and ack, and repeats carry the id of the first", func(t *testing.T) {
				require.Zero(t, l.Lost, "lost")
				require.Zero(t, l.Unexpected, "never offered")
				require.Equal(t, (n.orders+broken-1)/broken, l.Dead)
			})
			require.Zero(t, l.Disorders, "out of order within a key")
		})
	}
}

// TestSIGKILL_SlowKey: the same where one key is slow. Its messages wait in
// line behind each other while nearly all that was taken after them is done, so
// that each kill comes when there is a gap in what is done.
func TestSIGKILL_SlowKey(t *testing.T) {
	for _, at := range places(t) {
		t.Run(at.driver, func(t *testing.T) {
			n := sizes()
			random, seed := newChance()
			l := ledger{Test: "SIGKILL, slow key", Broker: at.driver, Seed: seed}
			since := begin()
			perSecond := pace(n.orders, n.kills, n.between)
			p := newPlant(t, at, pipe{kind: "deadly", with: "{deaths: none}", ordering: "key", concurrency: 64, perSecond: perSecond, partitions: 1})
			p.build = buildDeadly
			offered, payloads := ordersOfASlowKey(n.orders, perSecond)
			p.feed(t, p, payloads)
			for l.Kills < n.kills {
				run := p.start(t)
				// What ran at the last kill runs again, alone, before others do.
				run.await(func() bool { return run.processed() > 2*slowPerSecond }, "messages flow before the kill")
				pause(time.Duration(float64(n.between) * (0.5 + random.Float64())))
				require.Positivef(t, run.waiting(), "kill %d came after all was done: nothing would be proved", l.Kills+1)
				run.kill()
				l.Kills++
			}
			p.finish(t)
			p.verdict(t, &l, offered)
			enter(t, l, since)
			require.Zero(t, l.Lost, "lost")
			require.Zero(t, l.Unexpected, "never offered")
			require.Zero(t, l.Dead)
			require.Zero(t, l.Disorders, "out of order within a key")
		})
	}
}

// The slow key gets twice what there is time for.
const (
	slowPerSecond = 20
	slow          = 100 * time.Millisecond
)

// ordersOfASlowKey returns n orders of which, at perSecond, slowPerSecond are of
// one key that is slow.
func ordersOfASlowKey(n, perSecond int) ([]order, [][]byte) {
	orders, payloads := make([]order, n), make([][]byte, n)
	seqs := make(map[string]int)
	for i := range n {
		key, takes := fmt.Sprintf("c-%d", i%97), time.Duration(0)
		if i%(perSecond/slowPerSecond) == 0 {
			key, takes = "slow", slow
		}
		seqs[key]++
		o := order{ID: fmt.Sprintf("o-%06d", i), Key: key, Seq: seqs[key]}
		orders[i] = o
		payloads[i] = fmt.Appendf(nil, `{"id":%q,"customer":%q,"seq":%d,"pause":%d}`, o.ID, o.Key, o.Seq, takes.Milliseconds())
	}
	return orders, payloads
}

// TestSIGTERM: the process is stopped again and again while it works through
// a backlog. It always says that it stopped well, and nothing that it had
// finished is done again.
func TestSIGTERM(t *testing.T) {
	for _, at := range places(t) {
		t.Run(at.driver, func(t *testing.T) {
			n := sizes()
			l := ledger{Test: "SIGTERM", Broker: at.driver}
			since := begin()
			p := newPlant(t, at, prepare(pace(n.orders, n.drains, n.between)))
			offered, payloads := makeOrders(n.orders, n.orders/20)
			p.feed(t, p, payloads)
			for l.Stops < n.drains {
				run := p.start(t)
				pause(n.between)
				require.Positivef(t, run.waiting(), "stop %d came after all was done: nothing would be proved", l.Stops+1)
				run.stop()
				l.Stops++
			}
			p.finish(t)
			p.verdict(t, &l, offered)
			enter(t, l, since)
			require.Zero(t, l.Lost, "lost")
			require.Zero(t, l.Unexpected, "never offered")
			require.Equal(t, (n.orders+broken-1)/broken, l.Dead)
			require.Zero(t, l.Repeats, "finished work was done again")
			require.Zero(t, l.Disorders, "out of order within a key")
		})
	}
}

// pace is the rate at which the work lasts longer than the faults do.
func pace(orders, faults int, between time.Duration) int {
	return int(float64(orders) / (1.6 * float64(faults) * between.Seconds()))
}

// finish lets a last process do what is left.
func (p *plant) finish(t *testing.T) {
	t.Helper()
	run := p.start(t)
	run.await(func() bool { return run.waiting() == 0 }, "all is done")
	run.stop()
}

// pause lets the load go on for a while: how long is part of the fault.
func pause(d time.Duration) { <-time.After(d) }

func newChance() (*rand.Rand, uint64) {
	seed := uint64(time.Now().UnixNano())
	return rand.New(rand.NewPCG(seed, 0)), seed //nolint:gosec // chance, not secrets
}
