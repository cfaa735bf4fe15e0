package app

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// onOneFile is the scripted pipeline on the embedded broker, with more lines of
// config.
func onOneFile(more string) string {
	return unique(fmt.Sprintf(scripted, more, "main: {driver: embedded}"))
}

// aTask is a message of the original: a task's arguments, with commas in them.
const aTask = `{"args": ["a,b", [1, 2.50], {"k": null}], "kwargs": {"until": "1,5"}}`

// TestRows_Consumers are rows about how messages get to their handlers.
func TestRows_Consumers(t *testing.T) {
	t.Parallel()

	t.Run("1-09 a message that nobody has announced is logged from the first moment on", func(t *testing.T) {
		t.Parallel()
		c, g := onOneFile(""), newGate()
		s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) { return nil, g.pass(msg) })
		in, _ := topics(c)
		s.publish(in, `{}`, "Idempotency-Key", "unheard-of")
		<-g.reached
		require.Equal(t, store.InProgress, s.logged("unheard-of", store.InProgress).State)
		close(g.opened)
		s.logged("unheard-of", store.Completed)
	})

	t.Run("1-12 also what fails before its kind runs has an entry that says why", func(t *testing.T) {
		t.Parallel()
		c := onOneFile("")
		var runs atomic.Int32
		s := prepareStand(t, c)
		s.kinds = handlers.Builtin().With(pipeline.Kind{
			Name: "scripted", Effect: true, NewConfig: func() any { return &struct{}{} },
			Once: func(any) *pipeline.Once {
				return &pipeline.Once{Subject: func(*message.Message) string { return "order-7" }}
			},
			New: func(pipeline.Env, any) (message.HandlerFunc, error) {
				return func(*message.Message) ([]*message.Message, error) { runs.Add(1); return nil, nil }, nil
			},
		})
		s.open()
		in, _ := topics(c)
		s.logged(s.publish(in, `{"total": 1}`), store.Completed)
		e := s.logged(s.publish(in, `{"total": 2}`), store.Dead)
		require.Equal(t, pipeline.ReasonConflict, e.Reason)
		require.Contains(t, e.Error, "order-7")
		require.Equal(t, int32(1), runs.Load())
	})

	t.Run("1-28 a program's own kind reads and writes payloads of any form", func(t *testing.T) {
		t.Parallel()
		c := onOneFile("")
		s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			task := msg.Metadata.Get("type") // the original's header, and a body of its own form
			name, argument, ok := strings.Cut(string(msg.Payload), "\x00")
			if !ok {
				return nil, pipeline.Invalid("no arguments")
			}
			out := msg.Copy()
			out.Payload = []byte(task + "(" + name + "=" + argument + ")\xff")
			return []*message.Message{out}, nil
		})
		in, out := topics(c)
		seen := s.watch(out)
		s.publish(in, "n\x0041", "Waybill-Meta-type", "shop.tasks.add")
		require.Equal(t, "shop.tasks.add(n=41)\xff", string(seen(1)[0].Bytes()))
		require.Contains(t, s.logged(s.publish(in, "n"), store.Dead).Error, "no arguments")
	})

	t.Run("1-30 concurrency is how many run at a time, each on a worker with a name", func(t *testing.T) {
		t.Parallel()
		c, g := strings.Replace(onOneFile("instance: shop-1"), "kind: scripted, ", "kind: scripted, concurrency: 3, in_flight: 10, ", 1), newGate()
		s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) { return nil, g.pass(msg) })
		in, _ := topics(c)
		for i := range 10 {
			s.publish(in, fmt.Sprintf(`{"k": %d}`, i))
		}
		for range 3 {
			<-g.reached
		}
		require.Never(t, func() bool { return len(g.reached) > 0 }, 100*time.Millisecond, 10*time.Millisecond, "a fourth runs")
		workers := map[string]bool{}
		for _, e := range s.searchLog("--state", "queued") {
			for _, a := range e.Attempts {
				require.Regexp(t, `^shop-1/\d+$`, a.Worker)
				workers[a.Worker] = true
			}
		}
		require.Len(t, workers, 3)
		close(g.opened)
		s.eventually(func() bool { return s.processed("ok") == "10" }, "all are done")
	})
}

// TestRows_Stop: with one handler or the other at work, none takes anything
// more once a stop has begun.
func TestRows_Stop(t *testing.T) {
	t.Parallel()
	for name, last := range map[string]string{"the one": "one", "the other": "two"} {
		t.Run("1-31 a stop first ends all intake and then waits for what runs, here "+name, func(t *testing.T) {
			t.Parallel()
			c := unique(`
brokers: {main: {driver: embedded}}
topics: {one-~: {broker: main}, two-~: {broker: main}}
handlers:
  one: {kind: scripted, from: one-~, concurrency: 1, in_flight: 2, timeout: 0s}
  two: {kind: scripted, from: two-~, concurrency: 1, in_flight: 2, timeout: 0s}
`)
			gates := map[string]gate{"one": newGate(), "two": newGate()}
			var mu sync.Mutex
			ran := map[string]int{}
			s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
				mu.Lock()
				ran[env.Handler]++
				mu.Unlock()
				return nil, gates[env.Handler].pass(msg)
			})
			count := func(handler string) int { mu.Lock(); defer mu.Unlock(); return ran[handler] }
			for handler, g := range gates {
				_, after, _ := strings.Cut(c, handler+"-")
				for range 3 {
					s.publish(handler+"-"+after[:8], `{}`)
				}
				<-g.reached
			}
			stopped := make(chan error, 1)
			go func() { stopped <- s.stop() }()
			s.eventually(func() bool { status, _ := s.get("/ready"); return status != http.StatusOK }, "it is stopping")
			waits := func() {
				t.Helper()
				require.Never(t, func() bool { return len(stopped) > 0 || count("one") > 1 || count("two") > 1 }, 200*time.Millisecond, 10*time.Millisecond, "it takes more, or does not wait")
			}
			waits() // it says that it stops a moment before its handlers do
			for handler, g := range gates {
				if handler != last {
					close(g.opened)
				}
			}
			waits()
			close(gates[last].opened)
			require.NoError(t, <-stopped)
			require.Equal(t, map[string]int{"one": 1, "two": 1}, ran)
			s.open()
			s.eventually(func() bool { return count("one") == 3 && count("two") == 3 }, "the others are handled after the next start")
		})
	}
}

// TestRows_Lost: a process ends in the middle of its work.
func TestRows_Lost(t *testing.T) {
	t.Parallel()
	c := strings.Replace(onOneFile("shutdown_timeout: 50ms"), "kind: scripted, ", "kind: scripted, concurrency: 1, in_flight: 1, ", 1)
	g := newGate()
	var mu sync.Mutex
	runs := map[string]int{}
	s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
		mu.Lock()
		runs[msg.UUID]++
		mu.Unlock()
		return nil, g.pass(msg)
	})
	in, _ := topics(c)
	for _, id := range []string{"in hand", "waits", "waits, too"} {
		s.publish(in, `{}`, "Idempotency-Key", id)
	}
	<-g.reached
	require.ErrorContains(t, s.stop(), "1 message", "it was cut short")
	left := s.searchLog()
	close(g.opened)
	s.open()
	s.eventually(func() bool { return s.processed("ok") == "3" }, "all are done")

	t.Run("1-W1 what was in hand is not lost, and no entry says for ever that it runs", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, left, "while nothing runs")
		e := s.logged("in hand", store.Completed)
		require.NotEmpty(t, e.Attempts)
		require.Empty(t, s.searchLog("--state", "queued"))
	})
	t.Run("1-W7 only what was in hand comes again, and nothing is there twice", func(t *testing.T) {
		t.Parallel()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, map[string]int{"in hand": 2, "waits": 1, "waits, too": 1}, runs)
		require.Len(t, s.searchLog(), 3)
	})
}

// TestRows_Start: what a crash left behind, or what the file no longer has, is
// no obstacle.
func TestRows_Start(t *testing.T) {
	t.Parallel()

	t.Run("1-W15 what a killed process left in the data folder keeps no other from starting", func(t *testing.T) {
		t.Parallel()
		s := begin(t, unique(fmt.Sprintf(passing, "main: {driver: embedded}", "with: {}")))
		require.NoError(t, s.stop())
		l, err := net.Listen("unix", filepath.Join(s.data(), "waybill.sock"))
		require.NoError(t, err)
		l.(*net.UnixListener).SetUnlinkOnClose(false) // as SIGKILL leaves it
		require.NoError(t, l.Close())
		require.FileExists(t, filepath.Join(s.data(), "waybill.sock"))
		s.open()

		_, err = New(s.app.pipeline, Options{Kinds: s.kinds, Log: s.app.log})
		require.ErrorContains(t, err, "another waybill", "one that lives does")
	})

	t.Run("1-66 entries and dead letters of a handler that is gone from the file are still shown", func(t *testing.T) {
		t.Parallel()
		c := unique(fmt.Sprintf(passing, "main: {driver: embedded}", failingWith))
		s := begin(t, c)
		in, _ := topics(c)
		id := s.publish(in, "no JSON")
		s.letters(1)
		require.NoError(t, s.stop())
		require.NoError(t, os.WriteFile(s.config, []byte("brokers: {main: {driver: embedded}}\ntopics: {else: {broker: main}}\nhandlers: {other: {kind: map, from: else}}\n"), 0o600))
		s.open()
		e := s.searchLog()[0]
		require.Equal(t, []any{id, "work", in, store.Dead}, []any{e.Message, e.Handler, e.Topic, e.State})
		require.Equal(t, "work", s.letters(1)[0].Handler)
	})
}

// TestRows_LogAPI are rows about what programs read of the message log.
func TestRows_LogAPI(t *testing.T) {
	t.Parallel()

	t.Run("1-54 whoever watches sees each change when it happens, and lists have it at once", func(t *testing.T) {
		t.Parallel()
		c, g := onOneFile(""), newGate()
		s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) { return nil, g.pass(msg) })
		in, _ := topics(c)
		tail := s.tailLog("-n", "2")
		id := s.publish(in, `{}`)
		<-g.reached
		require.Len(t, s.searchLog("--state", "queued"), 1)
		close(g.opened)
		events := tail()
		require.Equal(t, []messagelog.EventKind{messagelog.EventBegan, messagelog.EventEnded}, []messagelog.EventKind{events[0].Event, events[1].Event})
		require.Equal(t, id, events[1].Message)
		s.logged(id, store.Completed)
		require.Empty(t, s.searchLog("--state", "queued"))
	})

	t.Run("1-64 an entry has all that the original's had", func(t *testing.T) {
		t.Parallel()
		c := onOneFile("")
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			env.Log.InfoContext(msg.Context(), "at work")
			if strings.Contains(string(msg.Payload), "bad") {
				panic("boom")
			}
			return []*message.Message{msg}, nil
		})
		in, _ := topics(c)
		done, dead := s.publish(in, aTask, "Waybill-Meta-amqp_priority", "7"), s.publish(in, `"bad"`)
		s.logged(done, store.Completed)
		s.logged(dead, store.Dead)
		entry := func(id string) (e map[string]any) {
			_, text := s.get("/api/v1/log/work/" + url.PathEscape(id))
			require.NoError(t, json.Unmarshal([]byte(text), &e))
			return e
		}
		e := entry(done)
		require.Equal(t, []any{"COMPLETED", in, in + ".work", done, "work", aTask}, // status, exchange, queue, uuid, task, arguments
			[]any{e["state"], e["topic"], e["subscription"], e["message"], e["handler"], e["payload"]})
		require.Equal(t, "7", e["headers"].(map[string]any)["amqp_priority"])
		require.Len(t, e["outputs"], 1)
		require.NotEmpty(t, e["at"], "completion_time")
		require.Contains(t, fmt.Sprint(e["attempts"]), "at work")
		e = entry(dead)
		require.Contains(t, e["error"], "boom")
		require.Equal(t, "panic", e["reason"])
		require.NotEmpty(t, e["at"], "failure_time")
		require.Contains(t, fmt.Sprint(e["attempts"]), "rows_tasks_test.go", "traceback")
	})
}

// TestRows_REST walks through what the original's REST offered for messages.
func TestRows_REST(t *testing.T) {
	t.Parallel()
	c := strings.Replace(onOneFile(""), "immediate: 2", "immediate: 0", 1)
	var mended atomic.Bool
	var mu sync.Mutex
	got := map[string]string{}
	s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
		if !mended.Load() && !strings.Contains(msg.UUID, "good") {
			return nil, pipeline.Permanent(errors.New("no such sku"))
		}
		mu.Lock()
		got[msg.UUID] = string(msg.Payload)
		mu.Unlock()
		return nil, nil
	})
	in, _ := topics(c)
	for _, id := range []string{"good", "bad-1", "bad-2", "bad-3"} {
		s.publish(in, aTask, "Idempotency-Key", id)
	}
	s.letters(3)
	s.logged("good", store.Completed)
	send := func(path, body string, want int, into any) {
		t.Helper()
		res, err := s.client.Post("http://waybill/api/v1/"+path, "application/json", strings.NewReader(body))
		require.NoError(t, err)
		defer res.Body.Close()
		text, err := io.ReadAll(res.Body)
		require.NoError(t, err)
		require.Equal(t, want, res.StatusCode, string(text))
		if into != nil {
			require.NoError(t, json.Unmarshal(text, into))
		}
	}
	replay := func(filter string) {
		t.Helper()
		var sel dashboard.Selection
		send("selections", filter, http.StatusCreated, &sel)
		send("replays", fmt.Sprintf(`{"selection": %d}`, sel.ID), http.StatusAccepted, nil)
	}

	//nolint:paralleltest // what follows needs what was before
	t.Run("1-63 lists, one message, retry and delete of one and of all, for programs", func(t *testing.T) {
		for path, n := range map[string]int{"log?state=COMPLETED": 1, "log?state=DEAD": 3, "log?state=IN_PROGRESS": 0, "log?state=DEAD&text=NO+SUCH": 3, "log?state=DEAD&limit=2": 2} {
			var page struct{ Entries []dashboard.LogEntry }
			_, text := s.get("/api/v1/" + path)
			require.NoError(t, json.Unmarshal([]byte(text), &page, json.MatchCaseInsensitiveNames(true)))
			require.Len(t, page.Entries, n, path)
		}
		status, text := s.get("/api/v1/log/work/bad-1")
		require.Equal(t, http.StatusOK, status)
		require.Contains(t, text, "no such sku")
		status, _ = s.get("/api/v1/log/work/none")
		require.Equal(t, http.StatusNotFound, status)

		letters := map[string]int64{}
		for _, l := range s.letters(3) {
			letters[l.Message] = l.ID
		}
		send("dead-letters/archive", fmt.Sprintf(`{"ids": [%d]}`, letters["bad-3"]), http.StatusOK, nil)
		require.Equal(t, int64(1), s.lettersIn(store.Archived))
		mended.Store(true)
		replay(`{"filter": {"field": "id", "value": "bad-1"}}`)
		s.logged("bad-1", store.Completed)
		require.Equal(t, int64(1), s.lettersIn(store.Dead), "retried was the one")
		replay(`{"filter": {"field": "handler", "value": "work"}}`)
		s.logged("bad-2", store.Completed)
		send("dead-letters/archive", `{"filter": {"field": "handler", "value": "work"}}`, http.StatusOK, nil)
		require.Zero(t, s.lettersIn(store.Dead))
	})
	//nolint:paralleltest // likewise
	t.Run("1-W6 what is sent again is byte for byte what it was, commas and all", func(t *testing.T) {
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, map[string]string{"good": aTask, "bad-1": aTask, "bad-2": aTask}, got)
	})
}

// TestRows_Policy: what becomes of failures, and what tells messages apart.
func TestRows_Policy(t *testing.T) {
	t.Parallel()

	t.Run("X2 one policy says how often and when a failure is tried again, and in the end it is a dead letter", func(t *testing.T) {
		t.Parallel()
		c := strings.Replace(onOneFile(""), "retry: {immediate: 2, initial: 1ms}",
			"retry: {immediate: 1, initial: 1ms, delayed: {initial: 200ms, max: 300ms, multiplier: 2, jitter: 0, attempts: 2}}", 1)
		s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			if msg.UUID == "for good" {
				return nil, pipeline.Permanent(errors.New("no such sku"))
			}
			return nil, errors.New("not now")
		})
		in, _ := topics(c)
		s.publish(in, `{}`, "Idempotency-Key", "for good")
		s.publish(in, `{}`, "Idempotency-Key", "for now")
		s.logged("for now", store.Retrying)
		require.Len(t, s.logged("for good", store.Dead).Attempts, 1)
		attempts := s.logged("for now", store.Dead).Attempts
		require.Len(t, attempts, 6, "(immediate + 1) × (attempts + 1)")
		require.GreaterOrEqual(t, attempts[2].At.Sub(attempts[1].At), 200*time.Millisecond)
		require.GreaterOrEqual(t, attempts[4].At.Sub(attempts[3].At), 300*time.Millisecond, "longer, up to the longest")
		for _, l := range s.letters(2) {
			require.Equal(t, `{}`, *l.Payload, "never dropped")
		}
	})

	t.Run("X4 message, order, event, conversation and place have names of their own, and derived ones stay", func(t *testing.T) {
		t.Parallel()
		c := unique(`
brokers: {main: {driver: embedded}}
topics:
  in-~: {broker: main, key: [/orderId]}
  mails-~: {broker: main, key: [/orderId]}
  calls-~: {broker: main, key: [/orderId]}
handlers:
  work: {kind: process_order, from: in-~, to: {email: mails-~, warehouse: calls-~}}
`)
		s := begin(t, c)
		in, _ := topics(c)
		mails, calls := s.watch("mails-"+in[3:]), s.watch("calls-"+in[3:])
		const order = `{"orderId":"ORD-7","userId":"u","items":[{"productId":"p","quantity":1,"price":1}],"total":1}`
		for range 2 { // as a producer that repeats itself
			s.publish(in, order, "ce-id", "m-1", "Waybill-Meta-Correlationid", "conversation-1")
		}
		mail, call := mails(2), calls(2)
		require.Equal(t, mail[0].ID, mail[1].ID, "handled again, it gives the same")
		require.NotEqual(t, mail[0].ID, call[0].ID)
		require.Equal(t, pipeline.OutputID("m-1", "work", 0), mail[0].ID)
		require.Equal(t, pipeline.OutputID("m-1", "work", 1), call[0].ID)
		require.Equal(t, []string{"email", "warehouse"}, []string{mail[0].Metadata[pipeline.MetaEvent], call[0].Metadata[pipeline.MetaEvent]})
		for _, m := range []dashboard.Message{mail[0], call[0]} {
			require.Equal(t, []string{"m-1", "conversation-1"}, []string{m.Metadata[pipeline.MetaCausationID], m.Metadata[pipeline.MetaCorrelationID]})
		}
		e := s.logged("m-1", store.Completed)
		require.Equal(t, []string{"m-1", "ORD-7", "conversation-1"}, []string{e.Message, e.Key, e.Correlation})
		require.NotEqual(t, int64(-1), e.Offset, "its place: that of the delivery")
	})
}

// TestRows_Wire are rows about messages as the original has them on RabbitMQ.
func TestRows_Wire(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: no server")
	}

	t.Run("1-07 a message of the original's is known by its message_id", func(t *testing.T) {
		t.Parallel()
		c := unique(fmt.Sprintf(scripted, "", brokersUnderTest(t)["rabbitmq"]))
		s := beginScripted(t, c, pass)
		in, out := topics(c)
		seen := s.watch(out)
		conn, err := amqp.Dial(needEnv(t, "RABBITMQ_URL"))
		require.NoError(t, err)
		defer conn.Close()
		ch, err := conn.Channel()
		require.NoError(t, err)
		const id = "0b6a2f0e-4c1d-4d6a-9b0e-0d7d0f1f8f11"
		require.NoError(t, ch.PublishWithContext(t.Context(), in, in, true, false, amqp.Publishing{
			Headers: amqp.Table{"type": "shop.tasks.add"}, ContentType: "application/json", MessageId: id, Priority: 3,
			Type: "django-carrot message", Body: []byte(aTask),
		}))
		e := s.logged(id, store.Completed)
		require.Equal(t, aTask, *e.Payload)
		require.Equal(t, "shop.tasks.add", e.Headers["type"])
		m := seen(1)[0]
		require.Equal(t, []string{aTask, id, "shop.tasks.add"}, []string{string(m.Bytes()), m.Metadata[pipeline.MetaCausationID], m.Metadata["type"]})
	})
}
