package prove

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// sink is another side that honours ids: it applies what comes under a new
// Idempotency-Key, and says yes to what comes again without applying it. Its
// answer is what it was sent.
type sink struct {
	*httptest.Server
	busy    func(o order, calls int) bool // says "later" to an order's call of that number; nil: never
	mu      sync.Mutex
	down    bool
	held    chan struct{}  // answers wait for it; nil: for nothing
	waiting int            // that did, or do
	calls   map[string]int // by key
	keys    map[string]bool
	applied []order
	repeats int
}

// stubborn orders are refused for good: they die again.
func stubborn(o order) bool { return o.Seq%97 == 5 }

func newSink(t *testing.T) *sink {
	s := &sink{down: true, calls: make(map[string]int), keys: make(map[string]bool)}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

func (s *sink) serve(w http.ResponseWriter, r *http.Request) {
	var o order
	body, _ := io.ReadAll(r.Body)
	if err := json.Unmarshal(body, &o); err != nil {
		w.WriteHeader(http.StatusTeapot)
		return
	}
	status, held := s.decide(o, r.Header.Get("Idempotency-Key"))
	if held != nil {
		<-held
	}
	w.WriteHeader(status)
	if status == http.StatusOK {
		_, _ = w.Write(body)
	}
}

func (s *sink) decide(o order, key string) (status int, held <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.calls[key]++
	if s.held != nil {
		s.waiting++
	}
	switch {
	case s.down || stubborn(o):
		return http.StatusBadRequest, s.held
	case s.busy != nil && s.busy(o, s.calls[key]):
		return http.StatusServiceUnavailable, s.held
	case s.keys[key]:
		s.repeats++
	default:
		s.keys[key] = true
		s.applied = append(s.applied, o)
	}
	return http.StatusOK, s.held
}

// hold has answers wait until letGo is called.
func (s *sink) hold(t *testing.T) (letGo func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	held := make(chan struct{})
	s.held = held
	letGo = sync.OnceFunc(func() { close(held) })
	t.Cleanup(letGo)
	return letGo
}

// release lets later calls have their answers at once, and returns how many
// wait.
func (s *sink) release() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = nil
	return s.waiting
}

// hung is how many calls wait for their answers.
func (s *sink) hung() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.waiting
}

func (s *sink) mend() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = false
}

// mourning is a plant whose handler has no retries, and calls what is down.
func mourning(t *testing.T, at place, s *sink) *plant {
	t.Helper()
	p := newPlant(t, at, pipe{
		kind: "call_http", ordering: "key", concurrency: 32, perSecond: 100_000, partitions: 4, with: fmt.Sprintf("{mode: http, url: %q}", s.URL),
	})
	text, err := os.ReadFile(p.config)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(p.config, []byte(strings.Replace(string(text), "    kind:", "    retry: {immediate: 0}\n    kind:", 1)), 0o600))
	return p
}

// letters counts those in a state.
func (run *process) letters(state store.State) int {
	var page dashboard.LetterPage
	text := run.get("/api/v1/dead-letters?total=true&limit=1&state=" + string(state))
	if json.Unmarshal([]byte(text), &page) != nil || page.Total == nil {
		return -1
	}
	return int(*page.Total)
}

// replay is the first replay, or nothing while nobody answers.
func (run *process) replay() (r dashboard.Replay) {
	_ = json.Unmarshal([]byte(run.get("/api/v1/replays/1")), &r) // asked again
	return r
}

// TestReplay: all dead letters are replayed, and the process is killed at
// random while it is at it. Each ends completed or dead, a sink that honours
// the id has applied each once, and those of a key in their order.
func TestReplay(t *testing.T) {
	for _, at := range places(t) {
		t.Run(at.driver, func(t *testing.T) {
			n := sizes()
			seed := uint64(time.Now().UnixNano())
			random := rand.New(rand.NewPCG(seed, 0)) //nolint:gosec // chaos, not secrets
			l := ledger{Test: "replay", Broker: at.driver, Seed: seed, Offered: n.letters}
			since := begin()
			s := newSink(t)
			p := mourning(t, at, s)
			_, payloads := makeOrders(n.letters, n.letters/20)
			p.feed(t, p, payloads)
			run := p.start(t)
			run.await(func() bool { return run.letters(store.Dead) == n.letters }, "all are dead letters")
			// After a kill, what a broker has not heard of yet would come again, and
			// complete its letter before the replay does. A stop in order tells it.
			run.stop()
			run = p.start(t)
			s.mend()

			rate := []string{"--rate", fmt.Sprint(n.letters / 4)} // so that a small proof lasts long enough, too
			if full {
				rate = nil
			}
			_, code := p.command(t, nil, append([]string{"dlq", "replay", "--config", p.config, "--all", "--yes", "--detach"}, rate...)...)
			require.Zero(t, code)
			points := make([]int64, n.replayKills)
			for i := range points {
				points[i] = int64(float64(n.letters) * 0.9 * random.Float64())
			}
			slices.Sort(points)
			for _, point := range points {
				run.await(func() bool { r := run.replay(); return r.Count > 0 && r.Count-r.Pending >= point }, "so many are sent")
				require.NotEqual(t, store.ReplayDone, run.replay().State, "the kill comes after all was done: nothing would be proved")
				run.kill()
				l.Kills++
				run = p.start(t)
			}
			goesOn := time.Now()
			left := run.replay()
			run.await(func() bool { return run.replay().State == store.ReplayDone }, "the replay is done")
			l.Rate = float64(left.Pending+left.Sent) / time.Since(goesOn).Seconds()
			s.verdict(t, &l, run, n.letters)
			enter(t, l, since)
			run.stop()
		})
	}
}

// verdict compares what the store says and what the sink has seen.
func (s *sink) verdict(t *testing.T, l *ledger, run *process, letters int) {
	t.Helper()
	offered, _ := makeOrders(letters, letters/20)
	want := make(map[string]bool)
	for _, o := range offered {
		if !stubborn(o) {
			want[o.ID] = true
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	l.Out, l.Dead, l.Repeats = len(s.applied), run.letters(store.Dead), s.repeats
	seen, last := make(map[string]bool), make(map[string]int)
	for _, o := range s.applied {
		require.False(t, seen[o.ID], "order %s was applied twice", o.ID)
		seen[o.ID] = true
		if !want[o.ID] {
			l.Unexpected++
		}
		if o.Seq < last[o.Key] {
			l.Disorders++
		}
		last[o.Key] = o.Seq
	}
	l.Lost = len(want) - len(seen)
	r := run.replay()
	require.Equalf(t, int64(letters), r.Completed+r.Dead, "each ends completed or dead: %+v", r)
	require.Equal(t, int64(len(want)), r.Completed)
	require.Equal(t, letters-len(want), l.Dead)
	require.Equal(t, len(want), run.letters(store.Completed))
	require.Zero(t, l.Lost, "lost")
	require.Zero(t, l.Unexpected)
	require.Zero(t, l.Disorders, "out of order within a key")
}
