package prove

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// takeover is how soon another instance goes on with what one that was killed
// had under lease.
const takeover = 10 * time.Second

// newCaller is a plant that calls the warehouse, and tries again soon.
func newCaller(t *testing.T, at place, w *warehouse, ordering, store string) *plant {
	t.Helper()
	p := newPlant(t, at, pipe{kind: "map", ordering: "none", concurrency: 1, perSecond: 1, partitions: 1, with: "{}"})
	broker := fmt.Sprintf("{driver: %s}", at.driver)
	if at.url != "" {
		broker = fmt.Sprintf("{driver: %s, url: %q}", at.driver, at.url)
	}
	text := fmt.Sprintf(`
data: data
http: {listen: "off"}
store: {url: %q}
brokers: {main: %s}
topics: {%s: {broker: main, key: /customer, partitions: 2}}
handlers:
  work:
    kind: call_http
    from: %s
    ordering: %s
    concurrency: 8
    timeout: 2m
    retry: {immediate: 0, delayed: {initial: 200ms, max: 1s, multiplier: 1.5, attempts: 10000}}
    with: {mode: http, url: %q, timeout: 2m}
`, store, broker, p.in, p.in, ordering, w.URL)
	if at.driver == "rabbitmq" { // see TestBrokerRestart
		text = strings.Replace(text, ", partitions: 2", "", 1)
	}
	require.NoError(t, os.WriteFile(p.config, []byte(text), 0o600))
	return p
}

// twin is the same plant with a folder, and so an instance, of its own.
func (p *plant) twin(t *testing.T) *plant {
	t.Helper()
	q := *p
	q.dir = t.TempDir()
	q.config = filepath.Join(q.dir, "waybill.yaml")
	text, err := os.ReadFile(p.config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(q.config, text, 0o600))
	return &q
}

// offer publishes orders by their ids: the customer is the id up to the dash.
func (p *plant) offer(t *testing.T, ids ...string) {
	t.Helper()
	var payloads [][]byte
	for _, id := range ids {
		customer, _, _ := strings.Cut(id, "-")
		payloads = append(payloads, fmt.Appendf(nil, `{"id":%q,"customer":%q}`, id, customer))
	}
	feedByCommand(t, p, payloads)
}

func rabbit(t *testing.T) place {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: no server")
	}
	return place{driver: "rabbitmq", url: env(t, "RABBITMQ_URL"), read: readRabbit, feed: feedByCommand}
}

func always(r ruling) func(string) ruling { return func(string) ruling { return r } }

// TestDelayedShared: two instances on PostgreSQL and one queue share what is
// delayed; when one is killed the other goes on with all that it had.
func TestDelayedShared(t *testing.T) {
	n := min(sizes().orders/20, 500) // one instance takes them well within the bound
	w := newWarehouse(t, always(refuse))
	p := newCaller(t, rabbit(t), w, "none", storetest.Schema(t))
	one, two := p.start(t), p.twin(t).start(t)
	ids := make([]string, n)
	for i := range ids {
		ids[i] = fmt.Sprintf("c%d-%d", i%7, i)
	}
	p.offer(t, ids...)
	retries := func(run *process) float64 { return run.metric("waybill_retries_total") }
	one.await(func() bool { return retries(one) > 0 && retries(two) > 0 && w.called(ids[n-1]) > 0 }, "both retry, and all are delayed")
	w.set(always(hang))
	one.await(func() bool { return w.hangs() == 16 }, "both have their hands full")
	one.kill()
	killed := time.Now()
	w.set(always(take))
	w.letGo(http.StatusServiceUnavailable)
	two.await(func() bool { return len(w.of("c")) == n || time.Since(killed) > takeover }, "all are taken, or it was too long")
	require.Len(t, w.of("c"), n, "within %s of the kill", takeover)
	two.await(func() bool { return !strings.Contains(two.get("/ready"), "delayed") }, "nothing waits any more")
	two.stop()
}

// TestLateOutcome: an instance that was stopped for longer than its lease comes
// back when another has its message. What it says then is refused.
func TestLateOutcome(t *testing.T) {
	w := newWarehouse(t, always(refuse))
	p := newCaller(t, rabbit(t), w, "none", storetest.Schema(t))
	one := p.start(t)
	p.offer(t, "c-1")
	one.await(func() bool { return w.called("c-1") > 1 }, "it is delayed")
	w.set(always(hang))
	one.await(func() bool { return len(w.hanging("c-1")) == 1 }, "the first has it in hand")
	require.NoError(t, one.cmd.Process.Signal(syscall.SIGSTOP))
	two := p.twin(t).start(t)
	two.await(func() bool { return len(w.hanging("c-1")) == 2 }, "the second has it in hand")
	require.NoError(t, one.cmd.Process.Signal(syscall.SIGCONT))
	calls := w.hanging("c-1")
	calls[0] <- http.StatusOK
	one.await(func() bool { return one.ended("void")+one.ended("ok") == 1 }, "the first is done with it")
	require.Zero(t, one.ended("ok"), "its late outcome counts for nothing")
	require.Contains(t, one.tail(), "outcome is void")
	calls[1] <- http.StatusOK
	two.await(func() bool { return two.ended("void")+two.ended("ok") == 1 }, "the second is done with it")
	require.Equal(t, 1, two.ended("ok"))
	one.stop()
	two.stop()
	require.Len(t, w.hanging("c-1"), 2, "nobody called once more")
	require.Empty(t, p.buried(t))
}

// TestHeldKey: a message that is retried for long comes out before the later
// ones of its key, across a restart and a takeover. Other keys do not wait.
func TestHeldKey(t *testing.T) {
	for _, at := range places(t) {
		t.Run(at.driver, func(t *testing.T) {
			w := newWarehouse(t, func(id string) ruling {
				if id == "a-1" {
					return refuse
				}
				return take
			})
			store, shared := "sqlite:waybill.db", at.driver != "embedded"
			if shared {
				store = storetest.Schema(t)
			}
			p := newCaller(t, at, w, "key", store)
			since := time.Now()
			run := p.start(t)
			p.offer(t, "a-1", "a-2", "b-1", "c-1")
			run.await(func() bool { return len(w.of("b"))+len(w.of("c")) == 2 && w.called("a-1") > 1 }, "others are taken")
			run.kill()
			run = p.start(t)
			p.offer(t, "a-3", "b-2")
			run.await(func() bool { return len(w.of("b")) == 2 }, "others are taken after the restart")
			next := run
			if shared {
				p = p.twin(t)
				next = p.start(t)
			}
			run.stop()
			if !shared {
				next = p.start(t)
			}
			p.offer(t, "a-4", "b-3", "c-2")
			next.await(func() bool { return len(w.of("b"))+len(w.of("c")) == 5 }, "others are taken after the takeover")
			next.await(func() bool { return !full || time.Since(since) > time.Minute }, "a minute has passed")
			require.Empty(t, w.of("a"))
			w.set(always(take))
			next.await(func() bool { return len(w.of("a")) == 4 }, "all are taken")
			next.stop()
			require.Equal(t, []string{"a-1", "a-2", "a-3", "a-4"}, w.of("a"))
			require.Equal(t, []string{"b-1", "b-2", "b-3"}, w.of("b"))
		})
	}
}
