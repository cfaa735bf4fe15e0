package prove

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

const (
	stored = 64 // messages that a plant on a victim has in hand
	felt   = 4  // COMMITs without an answer at each kill, at least
)

// TestStoreKilled: all of PostgreSQL is killed again and again, while COMMITs
// are under way or right after some whose answers nobody got. Waybill stays up
// and says what it waits for. Each order ends completed or dead, once.
func TestStoreKilled(t *testing.T) {
	if testing.Short() {
		t.Skip("-short: no server")
	}
	for _, at := range places(t) {
		if at.driver != "rabbitmq" && !full {
			continue // one broker, to be short: the store has its own COMMITs on all
		}
		t.Run(at.driver, func(t *testing.T) {
			n := sizes()
			random, seed := newChance()
			l := ledger{Test: "store SIGKILL", Broker: at.driver, Seed: seed}
			since := begin()
			v, s := newVictim(t), newSink(t)
			s.mend()
			s.busy = hesitant
			p := newStorer(t, at, s, v.line.url, n.stored/3)
			offered, payloads := makeOrders(n.stored, n.stored/6)
			p.feed(t, p, payloads)
			run := p.start(t)
			for l.Kills < n.storeKills {
				enough := run.ended("ok") + 10 + random.IntN(n.stored/n.storeKills/3)
				run.await(func() bool { return run.ended("ok") > enough }, "orders are completed before the kill")
				require.Lessf(t, run.ended("ok")+run.ended("dead"), n.stored, "kill %d came after all was done: nothing would be proved", l.Kills+1)
				if l.Kills%2 == 0 {
					l.Commits += v.killBeforeAnswers(run)
				} else {
					l.Commits += v.killInCommits(run)
				}
				l.Kills++
				run.await(func() bool { return !run.ready() && run.notReady("store unavailable") }, "/ready says that the store is away")
				l.Recovery = append(l.Recovery, v.revive(run))
			}
			run.await(steadily(func() bool { return run.waiting() == 0 && run.ready() && !run.notReady("delayed") }), "all is done, and nothing is delayed")
			p.verdict(t, &l, offered)
			enter(t, l, since)
			s.settled(t, &l, offered, run, v)
			run.stop()
		})
	}
}

// newStorer is a plant whose outcomes all write to the store: receipts, delayed
// retries with others behind them, and letters.
func newStorer(t *testing.T, at place, s *sink, store string, perSecond int) *plant {
	t.Helper()
	p := newPlant(t, at, pipe{
		kind: "call_http", ordering: "key", concurrency: stored, perSecond: perSecond, partitions: 1,
		with: fmt.Sprintf("{mode: http, once: [/id], url: %q}", s.URL),
	})
	p.edit(t, "    kind:", "    retry: {immediate: 0, delayed: {initial: 100ms, max: 1s, attempts: 1000}}\n    kind:")
	p.keepIn(t, store)
	return p
}

// hesitant orders are taken at the second call.
func hesitant(o order, calls int) bool { return o.Seq%3 > 0 && calls < 2 }

// settled requires that each order has ended once, as the sink would have it.
func (s *sink) settled(t *testing.T, l *ledger, offered []order, run *process, v *victim) {
	t.Helper()
	dead := 0
	for _, o := range offered {
		if stubborn(o) {
			dead++
		}
	}
	require.Zero(t, l.Lost, "lost")
	require.Zero(t, l.Unexpected, "never offered")
	require.Zero(t, l.Disorders, "out of order within a key")
	require.Equal(t, dead, l.Dead)
	require.Equal(t, dead, run.letters(store.Dead))
	s.mu.Lock()
	defer s.mu.Unlock()
	require.Equal(t, dead, run.ended("dead"), "times that an order died")
	require.Equalf(t, len(offered)-dead, run.ended("ok"), "times that an order was completed; %d calls were repeated, %d outcomes were void", s.repeats, run.ended("void"))
	require.Equal(t, len(offered)-dead, v.receipts())
	last := make(map[string]int)
	for _, o := range s.applied {
		require.Greaterf(t, o.Seq, last[o.Key], "order %s was applied twice or late", o.ID)
		last[o.Key] = o.Seq
	}
	require.Len(t, s.applied, len(offered)-dead)
	require.LessOrEqual(t, s.repeats, l.Kills*stored, "more calls were repeated than were in hand")
}

// ended is how many messages this life of the process gave that outcome.
func (run *process) ended(outcome string) int {
	_, after, found := strings.Cut(run.get("/metrics"), fmt.Sprintf(`waybill_messages_processed_total{handler="work",outcome=%q} `, outcome))
	require.True(run.t, found)
	n := 0
	_, err := fmt.Sscan(after, &n)
	require.NoError(run.t, err)
	return n
}

// victim is a PostgreSQL that takes its time for each COMMIT, and is killed
// there.
type victim struct {
	*storetest.Server
	t    *testing.T
	line *line // that Waybill has to it
}

func newVictim(t *testing.T) *victim {
	t.Helper()
	v := &victim{Server: storetest.StartServer(t), t: t}
	v.ask(func(conn *pgx.Conn) {
		for _, statement := range []string{"ALTER SYSTEM SET commit_delay = 30000", "ALTER SYSTEM SET commit_siblings = 0", "SELECT pg_reload_conf()"} {
			_, err := conn.Exec(t.Context(), statement)
			require.NoError(t, err, statement)
		}
	})
	v.line = newLine(t, v.URL()+"?pool_max_conns=32")
	return v
}

// ask has a connection beside the line.
func (v *victim) ask(do func(conn *pgx.Conn)) {
	v.t.Helper()
	conn, err := pgx.Connect(v.t.Context(), v.URL())
	require.NoError(v.t, err)
	defer func() { require.NoError(v.t, conn.Close(v.t.Context())) }()
	do(conn)
}

// receipts is how many effects are recorded as done. None may be in doubt.
func (v *victim) receipts() (done int) {
	v.t.Helper()
	doubts := 0
	v.ask(func(conn *pgx.Conn) {
		require.NoError(v.t, conn.QueryRow(v.t.Context(),
			"SELECT count(*) FILTER (WHERE state = 'done'), count(*) FILTER (WHERE state <> 'done') FROM receipt").Scan(&done, &doubts))
	})
	require.Zero(v.t, doubts)
	return done
}

// killInCommits kills it while COMMITs are under way, and returns how many.
func (v *victim) killInCommits(run *process) (commits int) {
	v.t.Helper()
	run.await(func() bool {
		v.Signal(syscall.SIGSTOP)
		commits = 0
		for _, title := range v.Processes() {
			if strings.Contains(title, " COMMIT") {
				commits++
			}
		}
		if commits < felt {
			v.Signal(syscall.SIGCONT)
		}
		return commits >= felt
	}, "COMMITs are under way")
	v.Kill()
	return commits
}

// killBeforeAnswers kills it when COMMITs have happened whose answers did not
// arrive, and returns how many.
func (v *victim) killBeforeAnswers(run *process) (commits int) {
	v.t.Helper()
	v.ask(func(conn *pgx.Conn) {
		for commits = v.unheard(run, conn); commits < felt; commits = v.unheard(run, conn) {
			v.line.cut()
			v.line.mute(false)
			before := run.ended("ok")
			run.await(func() bool { return run.ended("ok") > before+10 }, "orders are completed")
		}
	})
	v.Kill()
	v.line.cut()
	v.line.mute(false)
	return commits
}

// unheard mutes the line, and returns how many COMMITs happen meanwhile.
func (v *victim) unheard(run *process, conn *pgx.Conn) (commits int) {
	v.t.Helper()
	var since time.Time
	require.NoError(v.t, conn.QueryRow(v.t.Context(), "SELECT clock_timestamp()").Scan(&since))
	v.line.mute(true)
	run.await(steadily(func() bool {
		active := 0
		require.NoError(v.t, conn.QueryRow(v.t.Context(), `SELECT count(*) FILTER (WHERE state = 'active'),
			count(*) FILTER (WHERE state = 'idle' AND query = 'commit' AND state_change > $1)
			FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND usename = 'waybill'`, since).Scan(&active, &commits))
		return active == 0
	}), "nobody gets an answer any more")
	return commits
}

// revive starts it again, and returns how many seconds after that messages
// flow.
func (v *victim) revive(run *process) float64 {
	v.t.Helper()
	before := run.processed()
	v.Start()
	up := time.Now()
	run.await(func() bool { return run.processed() > before }, "messages flow after the restart")
	return time.Since(up).Seconds()
}
