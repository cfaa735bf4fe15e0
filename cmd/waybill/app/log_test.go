package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// scripted is a pipeline of one handler, whose kind is the test's.
const scripted = `
%s
brokers: {%s}
topics:
  in-~: {broker: main, key: /k}
  out-~: {broker: main}
handlers:
  work: {kind: scripted, from: in-~, to: out-~, retry: {immediate: 2, initial: 1ms}, timeout: 0s}
`

// script is what a scripted kind does with a message.
type script func(env pipeline.Env, msg *message.Message) ([]*message.Message, error)

// beginScripted runs an App with the config, in which each "kind: scripted" is
// the script.
func beginScripted(t *testing.T, config string, do script) *stand {
	t.Helper()
	s := prepareStand(t, config)
	s.kinds = handlers.Builtin().With(pipeline.Kind{
		Name: "scripted", NewConfig: func() any { return &struct{}{} },
		New: func(env pipeline.Env, _ any) (message.HandlerFunc, error) {
			return func(msg *message.Message) ([]*message.Message, error) { return do(env, msg) }, nil
		},
	})
	s.open()
	return s
}

// eachStore runs a test with the `store:` line of each store. Asked for again,
// it is another place.
func eachStore(t *testing.T, run func(t *testing.T, store func(t *testing.T) string)) {
	t.Helper()
	stores := map[string]func(*testing.T) string{"sqlite": func(*testing.T) string { return "" }}
	if !testing.Short() {
		stores["postgres"] = func(t *testing.T) string { t.Helper(); return fmt.Sprintf("store: {url: %q}", storetest.Schema(t)) }
	}
	for name, block := range stores {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			run(t, block)
		})
	}
}

// searchLog is `waybill log search` with these flags.
func (s *stand) searchLog(args ...string) []dashboard.LogEntry {
	s.t.Helper()
	code, out, errs := s.run("", append([]string{"log", "search", "--output", "json", "-n", "0"}, args...)...)
	require.Zero(s.t, code, errs)
	var entries []dashboard.LogEntry
	require.NoError(s.t, json.Unmarshal([]byte(out), &entries))
	return entries
}

// logged waits for the message's entry in this state.
func (s *stand) logged(id string, state store.State) dashboard.LogEntry {
	s.t.Helper()
	var entry dashboard.LogEntry
	s.eventually(func() bool {
		status, text := s.get("/api/v1/log/work/" + url.PathEscape(id))
		return status == http.StatusOK && json.Unmarshal([]byte(text), &entry) == nil && entry.State == state
	}, fmt.Sprintf("%s is %s", id, state))
	return entry
}

func texts(lines []dashboard.LogLine) []string {
	var all []string
	for _, line := range lines {
		all = append(all, line.Level+" "+line.Text)
	}
	return all
}

// gate stops a script until it is opened.
type gate struct{ reached, opened chan struct{} }

func newGate() gate { return gate{make(chan struct{}, 100), make(chan struct{})} }

func (g gate) pass(msg *message.Message) error {
	g.reached <- struct{}{}
	select {
	case <-g.opened:
		return nil
	case <-msg.Context().Done():
		return msg.Context().Err()
	}
}

// TestRows_MessageLog are rows about the message log, on both stores.
func TestRows_MessageLog(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, place func(*testing.T) string) {
		messageLogRows(t, func(t *testing.T, more string) string {
			t.Helper()
			return unique(fmt.Sprintf(scripted, place(t)+"\n"+more, "main: {driver: embedded}"))
		})
	})
}

func messageLogRows(t *testing.T, config func(*testing.T, string) string) {
	t.Run("1-05 the outcome of a message and what was logged meanwhile are in its entry", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			env.Log.InfoContext(msg.Context(), "hello", "n", 1)
			return []*message.Message{msg}, nil
		})
		in, _ := topics(c)
		id := s.publish(in, `{"k": "a"}`, "Waybill-Meta-Tenant", "north")
		e := s.logged(id, store.Completed)
		require.Equal(t, []string{"INFO hello"}, texts(e.Attempts[0].Lines))
		require.Equal(t, "1", e.Attempts[0].Lines[0].Attrs["n"])
		require.Equal(t, `{"k": "a"}`, *e.Payload)
		require.Equal(t, "north", e.Headers["tenant"])
		require.Len(t, s.searchLog("--header", "tenant=north", "--key", "a", "--topic", in), 1)
		require.Empty(t, s.searchLog("--header", "tenant=south"))
	})

	t.Run("1-15 a body that is not JSON fails with the reason why, and breaks no search", func(t *testing.T) {
		t.Parallel()
		c := strings.Replace(config(t, ""), "kind: scripted, ", `kind: process_order, `, 1)
		s := begin(t, c)
		in, _ := topics(c)
		bad, binary := s.publish(in, "no JSON"), s.publish(in, "\xff\x00 not even text")
		good := s.publish(in, `{"orderId":"7","userId":"u","items":[{"productId":"p","quantity":1,"price":1}],"totalAmount":1}`)
		e := s.logged(bad, store.Dead)
		require.Equal(t, pipeline.ReasonInvalid, e.Reason)
		require.Contains(t, e.Error, "JSON")
		require.Equal(t, "\xff\x00 not even text", string(s.logged(binary, store.Dead).PayloadBase64))
		s.logged(good, store.Completed)
		found := s.searchLog("--pointer", "/orderId=7")
		require.Len(t, found, 1)
		require.Equal(t, good, found[0].Message)
		require.Equal(t, bad, s.searchLog("--text", "NO json", "--state", "failed")[0].Message)
	})

	t.Run("1-16 an entry says when each run began and on which worker, and how it ended", func(t *testing.T) {
		t.Parallel()
		c := config(t, "instance: shop-1")
		s := beginScripted(t, c, pass)
		in, _ := topics(c)
		e := s.logged(s.publish(in, `{}`), store.Completed)
		require.Len(t, e.Attempts, 1)
		require.Regexp(t, `^shop-1/\d+$`, e.Attempts[0].Worker)
		require.False(t, e.Attempts[0].At.IsZero())
		require.Positive(t, e.Attempts[0].DurationMS)
		require.Empty(t, e.Attempts[0].Error)
	})

	t.Run("1-17 an entry has the ids of what came out", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, pass)
		in, out := topics(c)
		seen := s.watch(out)
		e := s.logged(s.publish(in, `{}`), store.Completed)
		require.Equal(t, []string{seen(1)[0].ID}, e.Outputs)
	})

	t.Run("1-18 a success is COMPLETED, with the time of it", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, pass)
		in, _ := topics(c)
		e := s.logged(s.publish(in, `{}`), store.Completed)
		require.False(t, e.At.Before(e.Attempts[0].At))
	})

	t.Run("1-19 a failure is DEAD, with time, error, stack and what was logged", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			env.Log.WarnContext(msg.Context(), "this will not go well")
			panic("boom")
		})
		in, _ := topics(c)
		e := s.logged(s.publish(in, `{}`), store.Dead)
		require.Equal(t, pipeline.ReasonPanic, e.Reason)
		require.Contains(t, e.Error, "boom")
		last := e.Attempts[len(e.Attempts)-1]
		require.Equal(t, "WARN this will not go well", texts(last.Lines)[0])
		require.Contains(t, last.Lines[1].Text, "log_test.go", "the stack")
		require.Contains(t, last.Lines[2].Text, "message is dead")
	})

	t.Run("1-20 whoever watches is told of each failure, with message and error", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, func(pipeline.Env, *message.Message) ([]*message.Message, error) {
			return nil, errors.New("no such sku")
		})
		in, _ := topics(c)
		tail := s.tailLog("--level", "error", "-n", "8")
		id := s.publish(in, `{"k": "a"}`)
		var failed []dashboard.LogEvent
		for _, e := range tail() {
			require.Equal(t, id, e.Message)
			if e.Event == "failed" {
				failed = append(failed, e)
			}
		}
		require.Len(t, failed, 3)
		require.Contains(t, failed[2].Error, "no such sku")
		require.Equal(t, 3, failed[2].Attempt)
	})

	t.Run("1-21 retries are bounded, and each is in the entry with its error", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		runs := 0
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			runs++
			env.Log.InfoContext(msg.Context(), fmt.Sprintf("line of run %d", runs))
			return nil, fmt.Errorf("failure %d", runs)
		})
		in, _ := topics(c)
		e := s.logged(s.publish(in, `{}`), store.Dead)
		require.Len(t, e.Attempts, 3)
		for i, a := range e.Attempts {
			require.Equal(t, fmt.Sprintf("failure %d", i+1), a.Error)
			require.Equal(t, fmt.Sprintf("INFO line of run %d", i+1), texts(a.Lines)[0])
		}
	})

	t.Run("1-34 a running message's own lines are seen while it runs, and no others", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		g := newGate()
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			env.Log.Info("of no message")
			env.Log.InfoContext(msg.Context(), "of "+msg.UUID)
			return nil, g.pass(msg)
		})
		in, _ := topics(c)
		one, two := s.publish(in, `{"k":"1"}`), s.publish(in, `{"k":"2"}`)
		<-g.reached
		<-g.reached
		for _, id := range []string{one, two} {
			e := s.logged(id, store.InProgress)
			require.Equal(t, []string{"INFO of " + id}, texts(e.Attempts[0].Lines))
		}
		require.Len(t, s.searchLog("--state", "IN_PROGRESS"), 2)
		require.Len(t, s.searchLog("--state", "IN_PROGRESS", "--text", "OF "+two), 1)
		close(g.opened)
		for _, id := range []string{one, two} {
			require.Equal(t, []string{"INFO of " + id}, texts(s.logged(id, store.Completed).Attempts[0].Lines))
		}
	})

	t.Run("1-35 a kind needs nothing but the logger and the context that it is given", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			log := env.Log.With("sku", "A-1").WithGroup("stock")
			done := make(chan struct{})
			go func() { // whatever the kind starts belongs to the message, too
				defer close(done)
				log.WarnContext(msg.Context(), "low", "left", 2)
			}()
			<-done
			return nil, nil
		})
		in, _ := topics(c)
		line := s.logged(s.publish(in, `{}`), store.Completed).Attempts[0].Lines[0]
		require.Equal(t, "low", line.Text)
		require.Equal(t, "A-1", line.Attrs["sku"])
		require.Equal(t, "2", line.Attrs["stock.left"])
	})

	t.Run("1-50 queued, failed and completed are views of the states", func(t *testing.T) {
		t.Parallel()
		s, ids := threeViews(t, config(t, ""))
		for view, id := range ids {
			found := s.searchLog("--state", view)
			require.Len(t, found, 1, view)
			require.Equal(t, id, found[0].Message, view)
		}
	})

	t.Run("1-51 each view shows its time, handler, payload, and of a failure the error", func(t *testing.T) {
		t.Parallel()
		s, ids := threeViews(t, config(t, ""))
		for view, id := range ids {
			e := s.searchLog("--state", view)[0]
			require.False(t, e.At.IsZero())
			require.Equal(t, "work", e.Handler)
			require.Contains(t, *e.Payload, view)
			code, out, errs := s.run("", "log", "search", "--state", view)
			require.Zero(t, code, errs)
			require.Contains(t, out, id)
			require.Equal(t, view == "failed", strings.Contains(out, "no such sku"))
		}
	})

	t.Run("1-53 text is found in payload, errors and lines, in upper and lower case", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			env.Log.DebugContext(msg.Context(), "Looked into the Drawer")
			if strings.Contains(string(msg.Payload), "bad") {
				return nil, pipeline.Permanent(errors.New("the Cupboard is bare"))
			}
			return nil, nil
		})
		in, _ := topics(c)
		good, bad := s.publish(in, `{"k":"Kettle"}`), s.publish(in, `{"k":"bad"}`)
		s.logged(good, store.Completed)
		s.logged(bad, store.Dead)
		ids := func(text string) (found []string) {
			for _, e := range s.searchLog("--text", text) {
				found = append(found, e.Message)
			}
			slices.Sort(found)
			return found
		}
		both := []string{good, bad}
		slices.Sort(both)
		require.Equal(t, []string{good}, ids("kettle"))
		require.Equal(t, []string{bad}, ids("CUPBOARD"))
		require.Equal(t, both, ids("drawer"))
		require.Empty(t, ids("teapot"))
	})

	t.Run("1-55 show has place, state, times, key, headers, payload, lines and error", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			env.Log.InfoContext(msg.Context(), "looking for it")
			return nil, pipeline.Permanent(errors.New("no such sku"))
		})
		in, _ := topics(c)
		id := s.publish(in, `{"k":"key-7"}`, "Waybill-Meta-Tenant", "north", "Waybill-Meta-Correlationid", "conversation-1")
		s.logged(id, store.Dead)
		code, out, errs := s.run("", "log", "show", id)
		require.Zero(t, code, errs)
		for _, want := range []string{"DEAD", "work", id, in, "key-7", "conversation-1", "attempt 1", "looking for it", "no such sku", `payload {"k":"key-7"}`} {
			require.Contains(t, out, want)
		}
		e := s.logged(id, store.Dead)
		require.Equal(t, in+".work", e.Subscription)
		require.Equal(t, "north", e.Headers["tenant"])
	})

	t.Run("1-56 lines are shown from a level on, info unless asked", func(t *testing.T) {
		t.Parallel()
		c := config(t, "")
		s := beginScripted(t, c, func(env pipeline.Env, msg *message.Message) ([]*message.Message, error) {
			env.Log.DebugContext(msg.Context(), "line-d")
			env.Log.InfoContext(msg.Context(), "line-i")
			env.Log.ErrorContext(msg.Context(), "line-e")
			return nil, nil
		})
		in, _ := topics(c)
		id := s.publish(in, `{}`)
		s.logged(id, store.Completed)
		for level, want := range map[string]string{"": "ie", "debug": "die", "warn": "e", "ERROR": "e"} {
			args := []string{"log", "show", id, "--output", "ndjson"}
			if level != "" {
				args = append(args, "--level", level)
			}
			code, out, errs := s.run("", args...)
			require.Zero(t, code, errs)
			for _, line := range []string{"d", "i", "e"} {
				require.Equal(t, strings.Contains(want, line), strings.Contains(out, "line-"+line), level+" "+line)
			}
		}
		require.NotContains(t, s.log.String(), "line-d", "the process's own log has its own level")
	})

	t.Run("2-21 all of an order's processing is in its entry, for the audit", func(t *testing.T) {
		t.Parallel()
		c := strings.Replace(config(t, ""), "kind: scripted, ", `kind: process_order, `, 1)
		s := begin(t, c)
		in, _ := topics(c)
		id := s.publish(in, `{"orderId":"7","userId":"u","items":[{"productId":"p","quantity":1,"price":1}],"totalAmount":1}`)
		s.logged(id, store.Completed)
		code, out, errs := s.run("", "log", "show", id)
		require.Zero(t, code, errs)
		require.Contains(t, out, "Processing order")
		require.Contains(t, out, "Order processed successfully")
	})

	t.Run("X9 a message is in one state of the table, and no other is known", func(t *testing.T) {
		t.Parallel()
		s, ids := threeViews(t, config(t, ""))
		for view, state := range map[string]store.State{"queued": store.InProgress, "failed": store.Dead, "completed": store.Completed} {
			require.Equal(t, state, s.logged(ids[view], state).State)
		}
		code, _, errs := s.run("", "log", "search", "--state", "PUBLISHED")
		require.Equal(t, exitUsage, code)
		require.Contains(t, errs, "IN_PROGRESS")
		status, text := s.get("/api/v1/log?state=PUBLISHED")
		require.Equal(t, http.StatusUnprocessableEntity, status, text)
	})
}

// threeViews is a stand with a message in each view. Their payloads say which.
func threeViews(t *testing.T, config string) (s *stand, ids map[string]string) {
	t.Helper()
	g := newGate()
	s = beginScripted(t, config, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
		switch {
		case strings.Contains(string(msg.Payload), "queued"):
			return nil, g.pass(msg)
		case strings.Contains(string(msg.Payload), "failed"):
			return nil, pipeline.Permanent(errors.New("no such sku"))
		}
		return nil, nil
	})
	t.Cleanup(func() { close(g.opened) })
	in, _ := topics(config)
	ids = make(map[string]string)
	for view, state := range map[string]store.State{"queued": store.InProgress, "failed": store.Dead, "completed": store.Completed} {
		ids[view] = s.publish(in, fmt.Sprintf(`{"k":%q}`, view))
		s.logged(ids[view], state)
	}
	return s, ids
}

func pass(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
	return []*message.Message{msg}, nil
}

// tailLog begins `waybill log tail` with these flags, which must end by
// themselves; the returned function waits for that.
func (s *stand) tailLog(args ...string) func() []dashboard.LogEvent {
	s.t.Helper()
	var out, errs syncBuffer
	args = append([]string{"log", "tail", "--output", "ndjson", "--config", s.config, "--set", "data=" + s.data()}, args...)
	done := make(chan int, 1)
	go func() {
		done <- execute(context.Background(), context.Background(), &interrupts{}, Options{Kinds: s.kinds}, args, strings.NewReader(""), &out, &errs)
	}()
	s.eventually(func() bool { return strings.Contains(errs.String(), "watching") }, "it watches")
	return func() []dashboard.LogEvent {
		s.t.Helper()
		require.Zero(s.t, <-done, errs.String())
		var events []dashboard.LogEvent
		for line := range strings.Lines(out.String()) {
			var e dashboard.LogEvent
			require.NoError(s.t, json.Unmarshal([]byte(line), &e))
			events = append(events, e)
		}
		return events
	}
}
