package prove

import (
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json"
)

// warehouse is what the handlers of a caller call. It says "later" to the
// orders that it is told to refuse, lets others hang until they are let go,
// and notes in which order it took the rest.
type warehouse struct {
	*httptest.Server
	mu    sync.Mutex
	rule  func(id string) ruling
	calls map[string]int
	taken []string
	hung  map[string][]chan int // by order, each call's answer
}

type ruling int

const (
	take ruling = iota
	refuse
	hang
)

func newWarehouse(t *testing.T, rule func(id string) ruling) *warehouse {
	w := &warehouse{rule: rule, calls: map[string]int{}, hung: map[string][]chan int{}}
	w.Server = httptest.NewServer(http.HandlerFunc(w.serve))
	t.Cleanup(w.Close)
	t.Cleanup(func() { w.letGo(http.StatusServiceUnavailable) })
	return w
}

func (w *warehouse) serve(rw http.ResponseWriter, r *http.Request) {
	var o order
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &o); err != nil {
		rw.WriteHeader(http.StatusTeapot)
		return
	}
	rw.WriteHeader(<-w.decide(o.ID))
}

func (w *warehouse) decide(id string) <-chan int {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls[id]++
	answer := make(chan int, 1)
	switch w.rule(id) {
	case take:
		w.taken = append(w.taken, id)
		answer <- http.StatusOK
	case refuse:
		answer <- http.StatusServiceUnavailable
	case hang:
		w.hung[id] = append(w.hung[id], answer)
	}
	return answer
}

func (w *warehouse) set(rule func(id string) ruling) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.rule = rule
}

// letGo answers all calls that hang.
func (w *warehouse) letGo(status int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for id, calls := range w.hung {
		for _, answer := range calls {
			answer <- status
		}
		delete(w.hung, id)
	}
}

// hanging returns the calls for an order that hang, in their order.
func (w *warehouse) hanging(id string) []chan int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.hung[id])
}

// hangs is how many calls hang.
func (w *warehouse) hangs() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, calls := range w.hung {
		n += len(calls)
	}
	return n
}

func (w *warehouse) called(id string) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[id]
}

// of lists the orders of a prefix that were taken, in order, without repeats.
func (w *warehouse) of(prefix string) []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for _, id := range w.taken {
		if strings.HasPrefix(id, prefix) && !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	return ids
}
