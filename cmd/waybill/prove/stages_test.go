package prove

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// newTracker is a plant whose handler is a track_stages, with this store.
func newTracker(t *testing.T, at place, store string, perSecond int) *plant {
	t.Helper()
	id := uuid.NewString()[:8]
	p := &plant{place: at, build: build, dir: t.TempDir(), in: "in-" + id, out: "out-" + id}
	p.config = filepath.Join(p.dir, "waybill.yaml")
	text := fmt.Sprintf(`
data: data
http: {listen: "off"}
store: {url: %q}
brokers:
  main: {driver: %s, %s}
topics:
  %s: {broker: main, key: [/orderId, /order_id], partitions: 2}
  %s: {broker: main, partitions: 1}
handlers:
  work:
    kind: track_stages
    from: %s
    to: {completed: %s}
    ordering: key
    throttle: {per_second: %d, burst: 16}
`, store, at.driver, at.address(), p.in, p.out, p.in, p.out, perSecond)
	require.NoError(t, os.WriteFile(p.config, []byte(text), 0o600))
	return p
}

func (at place) address() string {
	if at.url == "" {
		return ""
	}
	return fmt.Sprintf("url: %q", at.url)
}

// work is a prepared order of two jobs, and the events of its stages. Each
// message comes twice, the second time late.
func work(order string) [][]byte {
	messages := []string{fmt.Sprintf(`{"orderId":%q,"order_lines":[{"job_id":"%s-1-1","completion_stages":["pick","pack"]},{"job_id":"%s-2-1","completion_stages":["coat"]}]}`,
		order, order, order)}
	for _, e := range []string{"1-1/pick", "2-1/coat", "1-1/pack"} {
		job, stage, _ := strings.Cut(e, "/")
		messages = append(messages, fmt.Sprintf(`{"order_id":%q,"job_id":"%s-%s","stage":%q,"time":"2026-03-01T12:00:00Z"}`, order, order, job, stage))
	}
	var payloads [][]byte
	for _, m := range append(messages, messages...) {
		payloads = append(payloads, []byte(m))
	}
	return payloads
}

// announced lists the ids of the messages that announce each order.
func (run *process) announced(topic string) map[string][]string {
	run.t.Helper()
	patient := *run.http // RabbitMQ hands out what others are to read, too, one by one
	patient.Timeout = 4 * time.Minute
	res, err := patient.Get("http://waybill/api/v1/topics/" + topic + "/messages?from=oldest")
	require.NoError(run.t, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	require.NoError(run.t, err)
	all := make(map[string][]string)
	for line := range strings.Lines(string(text)) {
		var m dashboard.Message
		require.NoError(run.t, json.Unmarshal([]byte(line), &m), line)
		var e struct{ Type, Subject string }
		require.NoError(run.t, json.Unmarshal(m.Bytes(), &e))
		require.Equal(run.t, "order.completed", e.Type)
		all[e.Subject] = append(all[e.Subject], m.ID)
	}
	return all
}

// TestTracking_SIGKILL: the process is killed at random while it marks stages.
// Each order is announced, under one id.
func TestTracking_SIGKILL(t *testing.T) {
	for _, at := range places(t) {
		t.Run(at.driver, func(t *testing.T) {
			n := sizes()
			var orders []string
			var payloads [][]byte
			for i := range n.orders / len(work("")) {
				orders = append(orders, fmt.Sprintf("o-%d", i))
				payloads = append(payloads, work(orders[i])...)
			}
			p := newTracker(t, at, "sqlite:waybill.db", pace(len(payloads), n.kills, n.between))
			p.feed(t, p, payloads)
			for kill := range n.kills {
				run := p.start(t)
				pause(n.between)
				require.Positivef(t, run.waiting(), "kill %d came after all was done: nothing would be proved", kill+1)
				run.kill()
			}
			run := p.start(t)
			run.await(func() bool { return run.waiting() == 0 }, "all is done")
			t.Run("0-D25 every order is announced under one id, whatever crashes", func(t *testing.T) {
				run.t = t
				announced := run.announced(p.out)
				for _, order := range orders {
					ids := announced[order]
					require.NotEmpty(t, ids, "%s was never announced", order)
					for _, id := range ids {
						require.Equal(t, ids[0], id, order)
					}
					if at.driver == "embedded" {
						require.Len(t, ids, 1, "outputs, state and acknowledgement are one transaction")
					}
				}
				require.Len(t, announced, len(orders))
			})
			run.stop()
			p.requireNoneDead(t)
		})
	}
}

// TestTracking_Crash: the process is killed while the store commits the state
// of an order that has been announced, and whose last event is not
// acknowledged. Whether the commit went through or not, the order is announced
// under one id.
func TestTracking_Crash(t *testing.T) {
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	for _, at := range places(t) {
		t.Run(at.driver, func(t *testing.T) {
			t.Run("0-D25 a crash after the state was saved and before the acknowledgement", func(t *testing.T) {
				crashWhileTracking(t, at, true)
			})
			t.Run("0-D25 a crash after the order was announced and before its state was saved", func(t *testing.T) {
				crashWhileTracking(t, at, false)
			})
		})
	}
}

func crashWhileTracking(t *testing.T, at place, saved bool) {
	store := storetest.Schema(t)
	db := newBystander(t, store)
	p := newTracker(t, at, store, 1000)
	run := p.start(t)
	db.holdCommits()
	payloads := work("A1")
	p.feed(t, p, payloads[:len(payloads)/2])
	run.await(db.committing, "the state is being committed")
	before := run.announced(p.out)["A1"]
	require.Len(t, before, 1, "the order is announced before its state says so")
	run.kill()
	if !saved {
		db.exec("SELECT pg_terminate_backend(pid) FROM pg_locks "+held, db.lock)
		require.Eventually(t, func() bool { return !db.committing() }, time.Minute, 10*time.Millisecond)
	}
	db.letGo()
	if saved {
		require.Eventually(t, db.complete, time.Minute, 10*time.Millisecond)
	}
	require.Equal(t, saved, db.complete())

	run = p.start(t)
	run.await(func() bool { return run.processed() >= 1 }, "the last event comes again: it was not acknowledged")
	p.feed(t, p, payloads)
	p.feed(t, p, work("A2"))
	run.await(func() bool { return run.waiting() == 0 }, "all is done")
	announced := run.announced(p.out)
	require.Len(t, announced["A2"], 1)
	if saved {
		require.Equal(t, before, announced["A1"])
	} else {
		require.Equal(t, append(before, before...), announced["A1"], "again, under the same id")
	}
	run.stop()
	p.requireNoneDead(t)
}

// requireNoneDead looks through the log of all lives.
func (p *plant) requireNoneDead(t *testing.T) {
	t.Helper()
	log, err := os.ReadFile(filepath.Join(p.dir, "waybill.log"))
	require.NoError(t, err)
	require.Contains(t, string(log), "order is complete")
	require.NotContains(t, string(log), "message is dead")
}

// bystander looks into the plant's database, and holds up commits there.
type bystander struct {
	t    *testing.T
	conn *pgx.Conn
	lock int64 // that commits wait for
}

func newBystander(t *testing.T, store string) *bystander {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), store)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, conn.Close(context.Background())) })
	return &bystander{t: t, conn: conn, lock: time.Now().UnixNano() & 0x7fffffff}
}

func (db *bystander) exec(statement string, args ...any) {
	db.t.Helper()
	_, err := db.conn.Exec(context.Background(), statement, args...)
	require.NoError(db.t, err, statement)
}

func (db *bystander) number(query string, args ...any) (n int64) {
	db.t.Helper()
	require.NoError(db.t, db.conn.QueryRow(context.Background(), query, args...).Scan(&n), query)
	return n
}

// complete is what the state of a complete order has in it: that the stage is
// done which its last event is about.
const complete = `position('"A1-1-1":["pick","pack"]'::bytea IN value) > 0`

// holdCommits has the COMMIT of the state of a complete order wait for a lock
// of ours: as the last step before it happens, and whatever becomes of the
// client meanwhile.
func (db *bystander) holdCommits() {
	db.t.Helper()
	db.exec("SELECT pg_advisory_lock($1)", db.lock)
	db.exec(strings.NewReplacer("LOCK", fmt.Sprint(db.lock), "COMPLETE", strings.Replace(complete, "value", "NEW.value", 1)).Replace(`
		CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock(LOCK); RETURN NULL; END';
		CREATE CONSTRAINT TRIGGER hold AFTER INSERT OR UPDATE ON document DEFERRABLE INITIALLY DEFERRED
			FOR EACH ROW WHEN (COMPLETE) EXECUTE FUNCTION hold()`))
}

// held is which locks commits wait for.
const held = "WHERE locktype = 'advisory' AND NOT granted AND objid = $1"

// committing reports whether a commit is held up.
func (db *bystander) committing() bool {
	db.t.Helper()
	return db.number("SELECT count(*) FROM pg_locks "+held, db.lock) == 1
}

// letGo lets commits happen again.
func (db *bystander) letGo() {
	db.t.Helper()
	db.exec("SELECT pg_advisory_unlock($1)", db.lock)
	db.exec("DROP TRIGGER hold ON document")
}

// complete reports whether the state of the order says that it is complete.
func (db *bystander) complete() bool {
	db.t.Helper()
	return db.number("SELECT count(*) FROM document WHERE "+complete) == 1
}
