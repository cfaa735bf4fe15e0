package app

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// repairing is a pipeline whose calls fail until the warehouse takes them, and
// a second handler of the same topic, which has nothing to do with that.
const repairing = `
brokers: {%s}
topics:
  in-~: {broker: main, key: [/key]}
  other-~: {broker: main}
  out-~: {broker: main}
handlers:
  work: {kind: call_http, from: in-~, ordering: key, concurrency: 8, retry: {immediate: 0}, with: {mode: http, url: %q}}
  count: {kind: map, from: in-~, to: out-~}
`

// dying is a stand with so many dead letters of "work", o-0 to …, of three
// keys.
func dying(t *testing.T, brokers string, n int) (s *stand, w *warehouse, in string) {
	t.Helper()
	w = newWarehouse(t)
	config := unique(fmt.Sprintf(repairing, brokers, w.URL))
	in, _ = topics(config)
	s = begin(t, config)
	s.kill(w, in, 0, n)
	return s, w, in
}

// kill publishes orders that die.
func (s *stand) kill(w *warehouse, in string, from, to int) {
	s.t.Helper()
	dead := s.lettersIn(store.Dead)
	for i := from; i < to; i++ {
		w.set(fmt.Sprintf("o-%d", i), http.StatusBadRequest)
		s.publish(in, fmt.Sprintf(`{"id": "o-%d", "key": "k-%d", "total": 1.50}`, i, i%3), "ce-id", fmt.Sprintf("m-%d", i), "Waybill-Meta-tenant", "north")
	}
	s.eventually(func() bool { return s.lettersIn(store.Dead) == dead+int64(to-from) }, "all are dead letters")
}

// lettersIn counts those in a state.
func (s *stand) lettersIn(state store.State) int64 {
	s.t.Helper()
	_, text := s.get("/api/v1/dead-letters?total=true&limit=1&state=" + string(state))
	var page dashboard.LetterPage
	require.NoError(s.t, json.Unmarshal([]byte(text), &page), text)
	return *page.Total
}

func (s *stand) letter(id int64) (l dashboard.Letter) {
	s.t.Helper()
	_, text := s.get(fmt.Sprintf("/api/v1/dead-letters/%d", id))
	require.NoError(s.t, json.Unmarshal([]byte(text), &l), text)
	return l
}

// replay runs `dlq replay` with --output json.
func (s *stand) replay(code int, args ...string) (run dashboard.Replay, errs string) {
	s.t.Helper()
	got, out, errs := s.run("", append([]string{"dlq", "replay", "--output", "json"}, args...)...)
	require.Equal(s.t, code, got, "%s%s", out, errs)
	if out != "" {
		require.NoError(s.t, json.Unmarshal([]byte(out), &run))
	}
	return run, errs
}

// TestReplay_WithoutAnID: messages that somebody published by hand, without an
// id, share one if they are equal. A replay of one ends with its own letter.
func TestReplay_WithoutAnID(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs RabbitMQ")
	}
	w := newWarehouse(t)
	w.set("o-1", http.StatusBadRequest)
	config := unique(fmt.Sprintf(repairing, brokersUnderTest(t)["rabbitmq"], w.URL))
	in, _ := topics(config)
	s := begin(t, config)
	conn, err := amqp.Dial(needEnv(t, "RABBITMQ_URL"))
	require.NoError(t, err)
	defer func() { require.NoError(t, conn.Close()) }()
	ch, err := conn.Channel()
	require.NoError(t, err)
	for range 2 {
		byHand := amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(`{"id": "o-1", "key": "k"}`)}
		require.NoError(t, ch.PublishWithContext(t.Context(), in, "k", false, false, byHand))
	}
	letters := s.letters(2)
	require.Equal(t, letters[0].Message, letters[1].Message)

	run, _ := s.replay(exitPartial, fmt.Sprint(letters[0].ID), "--yes")
	require.Equal(t, int64(1), run.Dead)
	letters = s.letters(2)
	require.Equal(t, []int{2, 1}, []int{letters[0].Deaths, letters[1].Deaths}, "it is no third letter")
	require.NotContains(t, letters[0].Headers, pipeline.MetaReplayLetter)

	w.set("o-1", 0)
	run, _ = s.replay(exitOK, fmt.Sprint(letters[0].ID), "--yes")
	require.Equal(t, []any{store.ReplayDone, int64(1)}, []any{run.State, run.Completed})
	require.Equal(t, store.Completed, s.letter(letters[0].ID).State)
	require.Equal(t, store.Dead, s.letter(letters[1].ID).State, "the other one is for itself")
}

func TestReplayDeadLetters(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		t.Run(driver, func(t *testing.T) {
			t.Parallel()
			const n = 30
			s, w, _ := dying(t, brokers, n)
			before := s.letter(1)

			//nolint:paralleltest // what follows needs what was before
			t.Run("1-W9 a bulk replay is of exactly what matches, says how many that is, and asks", func(t *testing.T) {
				code, _, errs := s.run("n\n", "dlq", "replay", "--pointer", "/key=k-1", "--transform", `/total = payload.total * 2`)
				require.Equal(t, exitRefused, code)
				require.Contains(t, errs, "10 dead letters")
				require.Regexp(t, `read from: +in-\w+ +10`, errs)
				require.Contains(t, errs, `"total": 3.00}`, "what the transform would do")
				require.Equal(t, int64(n), s.lettersIn(store.Dead), "nothing was changed")
			})

			for i := range n {
				w.set(fmt.Sprintf("o-%d", i), 0)
			}
			w.set("o-3", http.StatusBadRequest)
			run, errs := s.replay(exitPartial, "--all", "--ramp", "1,5", "--yes", "--why", "the warehouse is up")
			require.Contains(t, errs, "1 letters died again")
			require.Equal(t, store.ReplayDone, run.State)
			require.Equal(t, []int64{n, n - 1, 1}, []int64{run.Count, run.Completed, run.Dead})
			require.Equal(t, int64(n-1), s.lettersIn(store.Completed))
			w.requireOnceInOrder(t, n-1)

			again := s.letter(s.deadIn(run))
			//nolint:paralleltest // likewise
			t.Run("1-W5 what is replayed keeps its id, its headers and its history", func(t *testing.T) {
				require.Equal(t, []int{2, 1}, []int{again.Deaths, again.Replays})
				require.Equal(t, "m-3", again.Message)
				require.Equal(t, before.Headers["tenant"], again.Headers["tenant"])
				require.Len(t, again.Headers, len(before.Headers), "its headers are those of the original")
				require.Equal(t, `{"id": "o-3", "key": "k-0", "total": 1.50}`, *again.Payload)
			})
			//nolint:paralleltest // likewise
			t.Run("1-59 one is replayed by its id, and may be repaired on its way", func(t *testing.T) {
				w.set("o-3", 0)
				run, _ := s.replay(exitOK, fmt.Sprint(again.ID), "--yes", "--transform", `/total = 9.90`)
				require.Equal(t, int64(1), run.Completed)
				edited := s.letter(again.ID)
				require.True(t, edited.Edited)
				require.Equal(t, `{"id": "o-3", "key": "k-0", "total": 9.90}`, *edited.Payload)
			})
			//nolint:paralleltest // likewise
			t.Run("1-W12 what is not dead is not replayed", func(t *testing.T) {
				_, errs := s.replay(exitRefused, fmt.Sprint(again.ID), "--yes")
				require.Contains(t, errs, fmt.Sprintf("letter %d is COMPLETED", again.ID))
			})
			s.eventually(func() bool {
				_, text := s.get("/metrics")
				return strings.Contains(text, fmt.Sprintf("waybill_messages_processed_total{handler=\"count\",outcome=\"ok\"} %d\n", n))
			}, "the other handler saw each once")
		})
	}
}

// deadIn is the letter that died again in a replay.
func (s *stand) deadIn(run dashboard.Replay) int64 {
	s.t.Helper()
	_, out, _ := s.run("", "dlq", "replay", "status", fmt.Sprint(run.ID), "--output", "ndjson")
	for line := range strings.Lines(out) {
		var i dashboard.ReplayItem
		require.NoError(s.t, json.Unmarshal([]byte(line), &i))
		if i.State == store.ItemDead {
			return i.Letter
		}
	}
	require.Fail(s.t, "none died again")
	return 0
}

// requireOnceInOrder requires that so many orders were taken, each once and
// those of a key in order.
func (w *warehouse) requireOnceInOrder(t *testing.T, n int) {
	t.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Len(t, w.taken, n)
	last := map[int]int{}
	for _, id := range w.taken {
		var i int
		_, err := fmt.Sscanf(id, "o-%d", &i)
		require.NoError(t, err)
		require.Greater(t, i+1, last[i%3], "of a key, in order: %v", w.taken)
		last[i%3] = i + 1
	}
}

func TestReplayIsFollowedAndStopped(t *testing.T) {
	t.Parallel()
	s, w, in := dying(t, "main: {driver: embedded}", 6)
	for i := range 6 {
		w.set(fmt.Sprintf("o-%d", i), 0)
	}
	run, errs := s.replay(exitOK, "--all", "--rate", "1/m", "--detach", "--yes")
	require.Contains(t, errs, fmt.Sprintf("dlq replay status %d", run.ID))
	id := fmt.Sprint(run.ID)
	_, _, errs = s.run("", "dlq", "replay", "pause", id, "--why", "lunch")
	require.Empty(t, errs)
	code, _, errs := s.run("", "dlq", "replay", "pause", id)
	require.Equal(t, exitRefused, code)
	require.Contains(t, errs, "it is paused")
	code, out, errs := s.run("", "dlq", "replay", "resume", id)
	require.Zero(t, code, errs)
	require.Contains(t, out, "running")

	// Ctrl-C leaves it going.
	ctx, interrupt := context.WithCancel(context.Background())
	var o, e syncBuffer
	done := make(chan int, 1)
	go func() {
		done <- execute(ctx, context.Background(), &interrupts{}, Options{Kinds: handlers.Builtin()},
			[]string{"dlq", "replay", "status", id, "--follow", "--config", s.config, "--set", "data=" + s.data()}, strings.NewReader(""), &o, &e)
	}()
	s.eventually(func() bool { return strings.Contains(e.String(), "completed 1") }, "it is followed")
	interrupt()
	require.Zero(t, <-done)
	require.Contains(t, e.String(), "replay "+id+" goes on")

	code, _, errs = s.run("", "dlq", "replay", "cancel", id)
	require.Zero(t, code, errs)
	code, out, _ = s.run("", "dlq", "replay", "status", id, "--output", "json")
	require.Zero(t, code)
	var whole struct {
		dashboard.Replay
		Items []dashboard.ReplayItem
	}
	require.NoError(t, json.Unmarshal([]byte(out), &whole, json.MatchCaseInsensitiveNames(true)))
	require.Equal(t, store.ReplayCancelled, whole.State)
	require.Len(t, whole.Items, 6)
	require.Equal(t, int64(5), s.lettersIn(store.Dead))
	_, text := s.get("/api/v1/audit")
	for _, action := range []string{"replay", "replay_pause", "replay_resume", "replay_cancel", "lunch"} {
		require.Contains(t, text, `"`+action+`"`)
	}

	// A selection is what it was when it was made, and one that runs is not needed to ask.
	sel := s.sel(`{"filter": {"field": "handler", "value": "work"}}`)
	s.kill(w, in, 6, 7)
	require.NoError(t, s.stop())
	code, out, errs = s.run("", "dlq", "replay", "--selection", fmt.Sprint(sel.ID), "--yes", "--output", "json")
	require.Zero(t, code, errs)
	require.Contains(t, errs, "no waybill runs here")
	require.NoError(t, json.Unmarshal([]byte(out), &run))
	require.Equal(t, int64(5), run.Count)
	s.open()
	code, _, errs = s.run("", "dlq", "replay", "status", fmt.Sprint(run.ID), "--follow")
	require.Zero(t, code, errs)
	require.Equal(t, int64(6), s.lettersIn(store.Completed))
	require.Equal(t, int64(1), s.lettersIn(store.Dead), "what died since is not replayed")
}

func (s *stand) sel(body string) (sel dashboard.Selection) {
	s.t.Helper()
	res, err := s.client.Post("http://waybill/api/v1/selections", "application/json", strings.NewReader(body))
	require.NoError(s.t, err)
	defer res.Body.Close()
	require.Equal(s.t, http.StatusCreated, res.StatusCode)
	require.NoError(s.t, json.UnmarshalRead(res.Body, &sel))
	return sel
}

func TestReplayHoldsTheKey(t *testing.T) {
	t.Parallel()
	w := newWarehouse(t)
	config := unique(strings.Replace(fmt.Sprintf(repairing, "main: {driver: embedded}", w.URL),
		"retry: {immediate: 0}", "retry: {immediate: 0, delayed: {initial: 100ms, max: 200ms, attempts: 1000}}", 1))
	in, _ := topics(config)
	s := begin(t, config)
	s.kill(w, in, 0, 1)
	w.set("o-0", http.StatusServiceUnavailable)
	run, _ := s.replay(exitOK, "--all", "--yes", "--detach")
	s.eventually(func() bool { return w.called("o-0") > 2 }, "it is tried")
	s.publish(in, `{"id": "later", "key": "k-0"}`)
	s.publish(in, `{"id": "another", "key": "k-1"}`)
	s.eventually(func() bool { return w.called("another") == 1 }, "other keys do not wait")
	began := w.called("o-0")
	s.eventually(func() bool { return w.called("o-0") > began+2 }, "it is tried again and again")
	require.Zero(t, w.called("later"), "later messages of its key wait for it")
	w.set("o-0", 0)
	s.eventually(func() bool { return w.called("later") == 1 }, "then they run")
	s.eventually(func() bool { return s.lettersIn(store.Completed) == 1 }, "it is completed")
	code, _, errs := s.run("", "dlq", "replay", "status", fmt.Sprint(run.ID), "--follow")
	require.Zero(t, code, errs)
}

func TestReplayUsage(t *testing.T) {
	t.Parallel()
	s := prepareStand(t, unique(fmt.Sprintf(repairing, "main: {driver: embedded}", "http://127.0.0.1:1")))
	for _, c := range []struct {
		args []string
		code int
		says string
	}{
		{nil, exitUsage, "which letters"},
		{[]string{"--all", "--handler", "work"}, exitUsage, "which letters"},
		{[]string{"x"}, exitUsage, `"x" is not the id`},
		{[]string{"--all", "--rate", "fast"}, exitUsage, "--rate"},
		{[]string{"--all", "--output", "xml"}, exitUsage, "--output"},
		{[]string{"--all"}, exitNotFound, "no dead letter matches"},
		{[]string{"999"}, exitNotFound, "999"},
		{[]string{"--selection", "9"}, exitNotFound, "9"},
		{[]string{"status", "9"}, exitNotFound, "9"},
		{[]string{"pause", "x"}, exitUsage, "not the id of a replay"},
	} {
		code, _, errs := s.run("", append([]string{"dlq", "replay"}, c.args...)...)
		require.Equal(t, c.code, code, "%v: %s", c.args, errs)
		require.Contains(t, errs, c.says)
	}
	for text, want := range map[string]float64{"": 0, "20": 20, "20/s": 20, "600/m": 10, "1800/h": 0.5} {
		got, err := perSecond(text)
		require.NoError(t, err)
		require.InDelta(t, want, got, 1e-9)
	}
}

func TestProgressOnATerminal(t *testing.T) {
	t.Parallel()
	var out syncBuffer
	p := progress{w: &out, bar: true}
	p.show(dashboard.Replay{Count: 100, Pending: 50, Completed: 48, Dead: 2})
	p.begun = p.begun.Add(-10 * time.Second)
	p.last(dashboard.Replay{Count: 100, Completed: 97, Dead: 2, Skipped: 1})
	require.Contains(t, out.String(), "[###############...............] 50 of 100")
	require.Contains(t, out.String(), "[##############################] 100 of 100, completed 97, dead again 2, skipped 1, under way 0, 5/s\n")
}
