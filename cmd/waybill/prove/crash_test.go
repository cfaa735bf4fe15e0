package prove

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/journal"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// newDeadly is a plant whose orders may kill the process, with 64 runs at a time
// and an order by key.
func newDeadly(t *testing.T, at place, settings string) *plant {
	t.Helper()
	p := newPlant(t, at, pipe{
		kind: "deadly", ordering: "key", concurrency: 64, perSecond: 100_000, partitions: 1,
		with: fmt.Sprintf("{deaths: %q}", filepath.Join(t.TempDir(), "deaths")),
	})
	p.build = buildDeadly
	text, err := os.ReadFile(p.config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.config, append(text, settings...), 0o600))
	return p
}

// deaths is how often the process died of each order.
func (p *plant) deaths(t *testing.T) map[string]int {
	t.Helper()
	config, err := os.ReadFile(p.config)
	require.NoError(t, err)
	_, file, found := strings.Cut(string(config), `{deaths: "`)
	require.True(t, found)
	file, _, _ = strings.Cut(file, `"`)
	deaths := make(map[string]int)
	text, err := os.ReadFile(file)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	for id := range strings.Lines(string(text)) {
		deaths[strings.TrimSpace(id)]++
	}
	return deaths
}

// deadlyOrders returns n orders, of which each apart-th kills, one way after
// the other. A run takes a millisecond, so that others run when one kills.
func deadlyOrders(n, apart int) (orders []order, payloads [][]byte, killers []string) {
	ways := []string{"exit", "overflow", "panic", "kill"}
	seqs := make(map[string]int)
	for i := range n {
		key := fmt.Sprintf("c-%d", i%97)
		seqs[key]++
		o, die := order{ID: fmt.Sprintf("o-%06d", i), Key: key, Seq: seqs[key]}, ""
		if i%apart == apart/2 {
			die = ways[i/apart%len(ways)]
			killers = append(killers, o.ID)
		}
		orders = append(orders, o)
		payloads = append(payloads, fmt.Appendf(nil, `{"id":%q,"customer":%q,"seq":%d,"die":%q,"pause":1}`, o.ID, o.Key, o.Seq, die))
	}
	return orders, payloads, killers
}

// supervise starts the process again each time that it dies, as systemd does,
// until all is done, and stops it. between is called after each death.
func (p *plant) supervise(t *testing.T, l *ledger, most int, between func()) {
	t.Helper()
	for {
		run := p.launch(t)
		done := run.watch(steadily(func() bool { return run.ready() && run.waiting() == 0 }), "all is done")
		if done {
			run.stop()
			return
		}
		l.Kills++
		require.LessOrEqualf(t, l.Kills, most, "it dies more often than it may\n%s", run.tail())
		between()
	}
}

// steadily is true once ok has been for a second: RabbitMQ counts nothing of
// what is on its way back to a queue.
func steadily(ok func() bool) func() bool {
	var since time.Time
	return func() bool {
		if !ok() {
			since = time.Time{}
			return false
		}
		if since.IsZero() {
			since = time.Now()
		}
		return time.Since(since) > time.Second
	}
}

// settled requires that the killers, and nobody else, are dead after three
// deaths each, and all others done.
func (p *plant) settled(t *testing.T, l *ledger, killers []string) {
	t.Helper()
	require.Zero(t, l.Lost, "lost")
	require.Zero(t, l.Unexpected, "never offered")
	require.Zero(t, l.Disorders, "out of order within a key")
	require.Equal(t, len(killers), l.Dead, "innocents among the dead letters, or killers not")
	want := make(map[string]int)
	for _, id := range killers {
		want[id] = journal.MaxCrashes
	}
	require.Equal(t, want, p.deaths(t), "deaths by order")
}

// TestPoison: orders that kill the process, each in its own way, are
// quarantined after three deaths, and all others are done.
func TestPoison(t *testing.T) {
	for _, at := range places(t) {
		if at.driver == "kafka" && !full {
			continue // embedded and one broker, to be short
		}
		t.Run(at.driver, func(t *testing.T) {
			l := ledger{Test: "poison", Broker: at.driver}
			since := begin()
			p := newDeadly(t, at, "")
			n := sizes().poison
			offered, payloads, killers := deadlyOrders(n, n/4)
			p.feed(t, p, payloads)
			p.supervise(t, &l, journal.MaxCrashes*len(killers), func() {})
			p.verdict(t, &l, offered)
			enter(t, l, since)
			t.Run("2-W3 a message that kills the process is a dead letter after three crashes, and its neighbours are done", func(t *testing.T) {
				p.settled(t, &l, killers)
			})
		})
	}
}

// TestPoison_DataWiped: the same where the data folder is lost with each death:
// the store alone remembers.
func TestPoison_DataWiped(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no server")
	}
	for _, at := range places(t)[1:] {
		if at.driver == "kafka" && !full {
			continue
		}
		t.Run(at.driver, func(t *testing.T) {
			l := ledger{Test: "poison, data folder wiped", Broker: at.driver}
			since := begin()
			p := newDeadly(t, at, fmt.Sprintf("store: {url: %q}\ninstance: one\n", storetest.Schema(t)))
			offered, payloads, killers := deadlyOrders(500, 500)
			p.feed(t, p, payloads)
			p.supervise(t, &l, journal.MaxCrashes*len(killers), func() {
				require.NoError(t, os.RemoveAll(filepath.Join(p.dir, "data")))
			})
			p.verdict(t, &l, offered)
			enter(t, l, since)
			p.settled(t, &l, killers)
		})
	}
}

// TestPoison_TakenOver: two instances share a queue and a PostgreSQL store.
// Each takes over what the other one died of, until nobody does any more.
func TestPoison_TakenOver(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no server")
	}
	for _, at := range places(t)[1:] {
		if at.driver == "kafka" && !full {
			continue
		}
		t.Run(at.driver, func(t *testing.T) {
			l := ledger{Test: "poison, taken over", Broker: at.driver}
			since := begin()
			p := newDeadly(t, at, fmt.Sprintf("store: {url: %q}\n", storetest.Schema(t)))
			other := p.twin(t)
			offered, payloads, killers := deadlyOrders(500, 500)
			p.feed(t, p, payloads)
			lives := map[*plant]*process{}
			for done := false; !done; {
				for _, one := range []*plant{p, other} {
					if lives[one] == nil {
						lives[one] = one.launch(t)
					}
				}
				// Until one has died; the other one has its messages then, and
				// the dead one comes back when that has died of them, too.
				mine, its := lives[p], lives[other]
				finished := steadily(func() bool {
					return mine.ready() && its.ready() && mine.waiting() == 0 && its.inHand() == 0
				})
				done = mine.watch(func() bool { return its.over() || finished() }, "all is done")
				for _, one := range []*plant{p, other} {
					if lives[one].over() {
						lives[one], done = nil, false
						l.Kills++
					}
				}
				require.LessOrEqualf(t, l.Kills, journal.MaxCrashes*len(killers), "they die more often than they may\n%s", mine.tail())
			}
			for _, run := range lives {
				run.stop()
			}
			p.verdict(t, &l, offered)
			enter(t, l, since)
			p.settled(t, &l, killers)
		})
	}
}

// TestPoison_Stops: a stop that cuts a run short, again and again, is no crash.
// The run lasts longer than a process that stops waits for anything.
func TestPoison_Stops(t *testing.T) {
	l := ledger{Test: "stops that cut runs short", Broker: "embedded"}
	since := begin()
	p := newDeadly(t, places(t)[0], "shutdown_timeout: 100ms\n")
	o := order{ID: "o-1", Key: "c-1", Seq: 1}
	p.feed(t, p, [][]byte{[]byte(`{"id":"o-1","customer":"c-1","seq":1,"pause":4000}`)})
	for l.Stops < 5 {
		run := p.start(t)
		run.await(func() bool { return run.inHand() == 1 || run.processed() > 0 }, "it runs")
		require.Zero(t, run.processed(), "it has an outcome")
		run.interrupt()
		require.Error(t, run.err, "it said that something was cut short")
		l.Stops++
	}
	p.finish(t)
	p.verdict(t, &l, []order{o})
	enter(t, l, since)
	p.settled(t, &l, nil)
}

// TestPoison_Storm: connections are cut again and again, and messages come
// back, while the process lives. Nobody is taken for a poison.
func TestPoison_Storm(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no server")
	}
	l := ledger{Test: "redelivery storm", Broker: "rabbitmq"}
	since := begin()
	at := places(t)[1]
	direct := at.url
	line := newLine(t, direct)
	at.url = line.url
	p := newDeadly(t, at, fmt.Sprintf("store: {url: %q}\n", storetest.Schema(t)))
	offered, payloads, _ := deadlyOrders(2_000, 1_000_000)
	for i := range payloads { // slow, so that there is something in hand at each cut
		payloads[i] = []byte(strings.Replace(string(payloads[i]), `"pause":1`, `"pause":100`, 1))
	}
	p.feed(t, p, payloads)
	run := p.start(t)
	for cuts := range 10 {
		before := run.processed()
		run.await(func() bool { return run.processed() > before+20 }, fmt.Sprintf("messages flow before cut %d", cuts+1))
		require.Positive(t, run.waiting(), "the storm came after all was done")
		line.cut()
	}
	run.await(steadily(func() bool { return run.waiting() == 0 }), "all is done")
	run.stop()
	p.url = direct
	p.verdict(t, &l, offered)
	enter(t, l, since)
	p.settled(t, &l, nil)
}
