package app

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// calling is a pipeline that calls the warehouse for what is in in-~.
const calling = `
brokers: {%s}
topics: {in-~: {broker: main, key: [/key], partitions: %d}}
handlers:
  work:
    kind: call_http
    from: in-~
    concurrency: 8
    retry: {immediate: 0, delayed: {initial: 100ms, max: 300ms, multiplier: 1.5, attempts: 1000}}
    with: {mode: http, url: %q}
    %s
`

// warehouse is what the handlers call. It answers 503, "later", or 400, "no",
// to the orders that it is told to, and notes in which order it took the others.
type warehouse struct {
	*httptest.Server
	mu     sync.Mutex
	answer map[string]int
	calls  map[string]int
	taken  []string
}

func newWarehouse(t *testing.T, refused ...string) *warehouse {
	w := &warehouse{answer: map[string]int{}, calls: map[string]int{}}
	for _, id := range refused {
		w.answer[id] = http.StatusServiceUnavailable
	}
	w.Server = httptest.NewServer(http.HandlerFunc(w.take))
	t.Cleanup(w.Close)
	return w
}

func (w *warehouse) take(rw http.ResponseWriter, r *http.Request) {
	var order struct{ ID string }
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &order, json.MatchCaseInsensitiveNames(true)); err != nil {
		rw.WriteHeader(http.StatusTeapot)
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[order.ID]++
	if status := w.answer[order.ID]; status != 0 {
		rw.WriteHeader(status)
		return
	}
	w.taken = append(w.taken, order.ID)
}

// set changes the answer for an order; 0: it is taken.
func (w *warehouse) set(id string, status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.answer[id] = status
}

func (w *warehouse) called(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[id]
}

// of lists which orders of the key were taken, in order.
func (w *warehouse) of(key string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.DeleteFunc(slices.Clone(w.taken), func(id string) bool { return !strings.HasPrefix(id, key) })
}

// order publishes one: its key is its id's first letter.
func (s *stand) order(in, id string) {
	s.t.Helper()
	s.publish(in, fmt.Sprintf(`{"id":%q,"key":%q}`, id, id[:1]))
}

// parts are the partitions with which keys are spread where the broker needs
// them for that.
func parts(driver string) int {
	if driver == "kafka" {
		return 2
	}
	return 1
}

func TestDelayed(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			stage := func(t *testing.T, w *warehouse, more string) (*stand, string) {
				config := unique(fmt.Sprintf(calling, brokers, parts(driver), w.URL, more))
				in, _ := topics(config)
				return begin(t, config), in
			}

			t.Run("1-W2 a message whose retry waits comes out before the later ones of its key, and other keys do not wait", func(t *testing.T) {
				t.Parallel()
				w := newWarehouse(t, "a1")
				s, in := stage(t, w, "ordering: key")
				for _, id := range []string{"a1", "a2", "b1", "a3", "b2"} {
					s.order(in, id)
				}
				s.eventually(func() bool { return len(w.of("b")) == 2 && w.called("a1") > 3 }, "others are taken, and it is tried again")
				s.eventually(func() bool {
					_, text := s.get("/ready")
					return strings.Contains(text, "handler work: 3 delayed messages wait in the store")
				}, "/ready says what waits")
				_, report, _ := s.run("", "doctor")
				require.Contains(t, report, "note: work: 3 delayed messages wait in the store")
				_, text := s.get("/metrics")
				require.Contains(t, text, `waybill_delayed_messages{handler="work"} 3`)
				require.Zero(t, w.called("a2"))
				require.Equal(t, []string{"b1", "b2"}, w.of("b"))
				w.set("a1", 0)
				s.eventually(func() bool { return len(w.of("a")) == 3 }, "all are taken")
				s.order(in, "a4")
				s.eventually(func() bool { return len(w.of("a")) == 4 }, "the key is free")
				require.Equal(t, []string{"a1", "a2", "a3", "a4"}, w.of("a"))
				for _, id := range []string{"a2", "a3", "a4", "b1"} {
					require.Equal(t, 1, w.called(id), id)
				}
				_, text = s.get("/metrics")
				require.Contains(t, text, `waybill_retries_total{handler="work",kind="delayed"}`)
				require.NotEqual(t, "0", s.processed("delayed"))
			})

			t.Run("a key stays held over a restart", func(t *testing.T) {
				t.Parallel()
				w := newWarehouse(t, "a1")
				s, in := stage(t, w, "ordering: key")
				s.order(in, "a1")
				s.order(in, "a2")
				s.eventually(func() bool { return w.called("a1") > 1 }, "it is tried again")
				require.NoError(t, s.stop())
				tries := w.called("a1")
				s.open()
				s.order(in, "a3")
				s.order(in, "b1")
				s.eventually(func() bool { return len(w.of("b")) == 1 && w.called("a1") > tries }, "it goes on")
				w.set("a1", 0)
				s.eventually(func() bool { return len(w.of("a")) == 3 }, "all are taken")
				require.Equal(t, []string{"a1", "a2", "a3"}, w.of("a"))
			})

			t.Run("overtake lets later messages of the key pass", func(t *testing.T) {
				t.Parallel()
				w := newWarehouse(t, "a1")
				s, in := stage(t, w, "ordering: key\n    overtake: true")
				for _, id := range []string{"a1", "a2", "a3"} {
					s.order(in, id)
				}
				s.eventually(func() bool { return len(w.of("a")) == 2 && w.called("a1") > 2 }, "the later ones are taken")
				w.set("a1", 0)
				s.eventually(func() bool { return len(w.of("a")) == 3 }, "all are taken")
				require.Equal(t, []string{"a2", "a3", "a1"}, w.of("a"))
			})

			t.Run("hold_key has a dead letter hold its key until it is replayed or archived", func(t *testing.T) {
				t.Parallel()
				w := newWarehouse(t, "b1")
				w.set("a1", http.StatusBadRequest)
				s, in := stage(t, w, "ordering: key\n    hold_key: true")
				for _, id := range []string{"a1", "a2", "b1", "b2", "c1"} {
					s.order(in, id)
				}
				s.eventually(func() bool { return w.called("b1") > 1 }, "it is retried")
				w.set("b1", http.StatusBadRequest) // it dies under its lease
				s.eventually(func() bool { return s.processed("dead") == "2" && len(w.of("c")) == 1 }, "both are dead letters")
				s.eventually(func() bool {
					_, text := s.get("/ready")
					return strings.Contains(text, "handler work: 2 keys are held by dead letters")
				}, "/ready says which wait")
				require.Empty(t, w.of("a"))
				require.Empty(t, w.of("b"))

				list, err := s.app.store.DelayedMessages(t.Context(), "work", 0, 10)
				require.NoError(t, err)
				for _, m := range list {
					if !m.Parked {
						continue
					}
					switch m.Key { // as replay and archive do
					case "a":
						w.set("a1", 0)
						m.Due, m.Replays = time.Now(), 1
						require.NoError(t, s.app.store.Do(t.Context(), s.app.store.Requeue(m)))
					case "b":
						require.NoError(t, s.app.store.Do(t.Context(), s.app.store.Unpark("work", m.Message)))
					}
				}
				s.eventually(func() bool { return len(w.of("a")) == 2 && len(w.of("b")) == 1 }, "the keys go on")
				require.Equal(t, []string{"a1", "a2"}, w.of("a"))
			})

			t.Run("an order that is repaired and sent again under its id waits behind the dead one that holds its key", func(t *testing.T) {
				t.Parallel()
				w := newWarehouse(t)
				w.set("a1", http.StatusBadRequest)
				s, in := stage(t, w, "ordering: key\n    hold_key: true")
				s.publish(in, `{"id":"a1","key":"a"}`, "ce-id", "order")
				s.eventually(func() bool { return s.processed("dead") == "1" }, "it is dead")
				s.publish(in, `{"id":"a2","key":"a"}`, "ce-id", "order") // the same id, repaired
				s.eventually(func() bool { return s.processed("delayed") == "1" }, "it waits")
				require.Empty(t, w.of("a"))
				require.NoError(t, s.app.store.Do(t.Context(), s.app.store.Unpark("work", "order")))
				s.eventually(func() bool { return len(w.of("a")) == 1 }, "it is taken")
				require.Equal(t, []string{"a2"}, w.of("a"))
			})

			t.Run("by partition everything waits behind it", func(t *testing.T) {
				t.Parallel()
				w := newWarehouse(t, "a1")
				config := unique(fmt.Sprintf(calling, brokers, 1, w.URL, "ordering: partition"))
				in, _ := topics(config)
				s := begin(t, config)
				for _, id := range []string{"a1", "b1", "a2"} {
					s.order(in, id)
				}
				s.eventually(func() bool { return w.called("a1") > 2 }, "it is tried again")
				w.set("a1", 0)
				s.eventually(func() bool { return len(w.of("")) == 3 }, "all are taken")
				require.Equal(t, []string{"a1", "b1", "a2"}, w.of(""))
			})
		})
	}
}

// TestDelayed_Takeover: who takes a key over knows that it is held.
func TestDelayed_Takeover(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		if driver == "embedded" { // one process has its file: see the restart
			continue
		}
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			w := newWarehouse(t, "a1")
			config := unique(fmt.Sprintf(calling, brokers, parts(driver), w.URL, "ordering: key")) + fmt.Sprintf("store: {url: %q}\n", storetest.Schema(t))
			in, _ := topics(config)
			one := begin(t, config)
			one.order(in, "a1")
			one.order(in, "a2")
			one.eventually(func() bool { return w.called("a1") > 1 }, "it is tried again")
			two := begin(t, config)
			for _, id := range []string{"a3", "b1", "c1"} {
				two.order(in, id)
			}
			two.eventually(func() bool { return len(w.of("b"))+len(w.of("c")) == 2 }, "others do not wait")
			require.NoError(t, one.stop())
			tries := w.called("a1")
			two.order(in, "a4")
			two.order(in, "b2")
			two.eventually(func() bool { return len(w.of("b")) == 2 && w.called("a1") > tries }, "the second has all")
			require.Empty(t, w.of("a"))
			w.set("a1", 0)
			two.eventually(func() bool { return len(w.of("a")) == 4 }, "all are taken")
			require.Equal(t, []string{"a1", "a2", "a3", "a4"}, w.of("a"))
		})
	}
}
