package app

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// failsIfBad is a script that fails for good where the payload says so.
func failsIfBad(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
	if strings.Contains(string(msg.Payload), "bad") {
		return nil, pipeline.Permanent(errors.New("no such sku"))
	}
	return []*message.Message{msg}, nil
}

// unlogged is how many successes are not in the log.
func (s *stand) unlogged() string {
	_, text := s.get("/metrics")
	_, after, _ := strings.Cut(text, "\nwaybill_log_unlogged_total ")
	value, _, _ := strings.Cut(after, "\n")
	return value
}

// TestRows_MessageLogAway are rows about a log whose store goes away: a real
// PostgreSQL behind a proxy.
func TestRows_MessageLogAway(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: no server")
	}
	setup := func(t *testing.T) (s *stand, in string, proxy *toxiproxy.Proxy) {
		t.Helper()
		u, err := url.Parse(storetest.Schema(t))
		require.NoError(t, err)
		p := newProxy(t, u.Host)
		require.NoError(t, p.Start())
		t.Cleanup(p.Stop)
		u.Host = p.Listen
		c := unique(fmt.Sprintf(scripted, fmt.Sprintf("store: {url: %q}", u), "main: {driver: embedded}"))
		in, _ = topics(c)
		return beginScripted(t, c, failsIfBad), in, p
	}

	t.Run("1-22 while the log is away successes go on, and are counted and shown as not logged", func(t *testing.T) {
		t.Parallel()
		s, in, proxy := setup(t)
		s.logged(s.publish(in, `{"n":0}`), store.Completed)
		require.Equal(t, "0", s.unlogged())
		proxy.Stop()
		for n := range 10 {
			s.publish(in, fmt.Sprintf(`{"n":%d}`, n))
		}
		s.eventually(func() bool { return s.processed("ok") == "11" }, "they succeed")
		s.eventually(func() bool { return s.unlogged() == "10" }, "they are counted")
		_, ready := s.get("/ready")
		require.Contains(t, ready, "10 messages that succeeded are not in it")
		require.NoError(t, proxy.Start())
		s.logged(s.publish(in, `{"n":11}`), store.Completed)
	})

	t.Run("1-W16 while the log is away failures are held, and none is missing afterwards", func(t *testing.T) {
		t.Parallel()
		s, in, proxy := setup(t)
		s.logged(s.publish(in, `{"n":0}`), store.Completed)
		proxy.Stop()
		var ids []string
		for n := range 10 {
			ids = append(ids, s.publish(in, fmt.Sprintf(`{"bad":%d}`, n)))
		}
		s.eventually(func() bool {
			status, text := s.get("/ready")
			return status == http.StatusServiceUnavailable && strings.Contains(text, "write to the message log")
		}, "/ready names the log")
		require.Equal(t, "0", s.processed("dead"), "none is done with")
		require.NoError(t, proxy.Start())
		for _, id := range ids {
			e := s.logged(id, store.Dead)
			require.Len(t, e.Attempts, 1, "told once, though it was tried often")
		}
		s.eventually(func() bool { return s.processed("dead") == "10" }, "now they are")
		s.awaitReady()
	})
}

func TestRows_MessageLogRetention(t *testing.T) {
	t.Parallel()
	eachStore(t, func(t *testing.T, place func(*testing.T) string) {
		t.Run("1-W10 what is completed goes when its time is up, and what failed stays for its own", func(t *testing.T) {
			t.Parallel()
			c := unique(fmt.Sprintf(scripted, place(t)+"\nmessage_log: {retention: {age: 7d}}", "main: {driver: embedded}"))
			s := beginScripted(t, c, failsIfBad)
			in, _ := topics(c)
			done, dead := s.publish(in, `{}`), s.publish(in, `{"bad":1}`)
			s.logged(done, store.Completed)
			s.logged(dead, store.Dead)
			require.NoError(t, s.stop())
			require.Len(t, s.searchLog(), 2, "asked of the store, as nobody runs")

			require.NoError(t, os.WriteFile(s.config, []byte(strings.Replace(c, "age: 7d", "age: 1ms", 1)), 0o600))
			s.open()
			s.eventually(func() bool { return len(s.searchLog()) == 1 }, "it goes")
			require.Equal(t, dead, s.searchLog()[0].Message)
			_, text := s.get("/metrics")
			require.Contains(t, text, `waybill_log_trimmed_total{state="COMPLETED"} 1`)
		})
	})
}

// TestMessageLog_Modes: what each mode keeps of a success, of one that needed a
// retry, and of a failure.
func TestMessageLog_Modes(t *testing.T) {
	t.Parallel()
	for mode, want := range map[string][]string{
		"all": {"dead", "flaky", "ok"}, "failures": {"dead", "flaky"}, "sample(0.000000001)": {"dead", "flaky"}, "sample(1)": {"dead", "flaky", "ok"}, "off": nil,
	} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := unique(fmt.Sprintf(scripted, "message_log: {mode: "+mode+", payload: false}", "main: {driver: embedded}"))
			var again atomic.Bool
			s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
				if msg.UUID == "dead" || msg.UUID == "flaky" && !again.Swap(true) {
					return nil, errors.New("no")
				}
				return nil, nil
			})
			in, _ := topics(c)
			for _, id := range []string{"flaky", "ok", "dead"} {
				s.publish(in, `{"card":1}`, "Idempotency-Key", id)
			}
			s.eventually(func() bool { return s.processed("ok") == "2" && s.processed("dead") == "1" }, "all are handled")
			require.NoError(t, s.stop())
			found := map[string]bool{}
			for _, e := range s.searchLog() {
				found[e.Message] = true
				require.Nil(t, e.Payload)
				require.Equal(t, len(`{"card":1}`), e.Size)
			}
			require.Len(t, found, len(want))
			for _, id := range want {
				require.True(t, found[id], id)
			}
		})
	}
}

// TestMessageLog_RetriesEnd: what waited for a retry, and what waited behind it,
// does not say so for ever, also where successes are not kept.
func TestMessageLog_RetriesEnd(t *testing.T) {
	t.Parallel()
	c := unique(fmt.Sprintf(scripted, "message_log: {mode: failures}", "main: {driver: embedded}"))
	c = strings.Replace(c, "retry: {immediate: 2, initial: 1ms}", "ordering: key, retry: {immediate: 0, delayed: {initial: 300ms, max: 1s, attempts: 2}}", 1)
	var again atomic.Bool
	s := beginScripted(t, c, func(_ pipeline.Env, msg *message.Message) ([]*message.Message, error) {
		if msg.UUID == "first" && !again.Swap(true) {
			return nil, errors.New("not yet")
		}
		return nil, nil
	})
	in, _ := topics(c)
	s.publish(in, `{"k":"a"}`, "Idempotency-Key", "first")
	s.logged("first", store.Retrying)
	s.publish(in, `{"k":"a"}`, "Idempotency-Key", "behind")
	first := s.logged("first", store.Completed)
	require.Len(t, first.Attempts, 2)
	require.Equal(t, "not yet", first.Attempts[0].Error)
	s.logged("behind", store.Completed)
}

// TestMessageLog_Masked: a masked value is nowhere in the store, and each other
// byte is as it was.
func TestMessageLog_Masked(t *testing.T) {
	t.Parallel()
	c := unique(fmt.Sprintf(scripted, `message_log: {mask: [/card/number]}`, "main: {driver: embedded}"))
	s := beginScripted(t, c, failsIfBad)
	in, _ := topics(c)
	masked := s.publish(in, `{ "card" : {"number": "4000-canary", "x": 1.50 } }`)
	bare := s.publish(in, `{"card": "4000-canary`)
	require.Equal(t, `{ "card" : {"number": "***", "x": 1.50 } }`, *s.logged(masked, store.Completed).Payload)
	require.Nil(t, s.logged(bare, store.Completed).Payload, "not JSON")
	require.NoError(t, s.stop())
	for _, file := range []string{"log.db", "log.db-wal"} {
		text, err := os.ReadFile(s.data() + "/" + file)
		if !errors.Is(err, os.ErrNotExist) {
			require.NoError(t, err)
		}
		require.NotContains(t, string(text), "canary")
	}
}

// TestLogCommands_ExitCodes are those of design §7.
func TestLogCommands_ExitCodes(t *testing.T) {
	t.Parallel()
	for _, running := range []bool{true, false} {
		t.Run(fmt.Sprintf("running=%v", running), func(t *testing.T) {
			t.Parallel()
			c := unique(fmt.Sprintf(passing, "main: {driver: embedded}", "with: {}"))
			s := begin(t, c)
			in, _ := topics(c)
			s.logged(s.publish(in, `{"n":1}`, "Idempotency-Key", "a/b c"), store.Completed)
			if !running {
				require.NoError(t, s.stop())
			}
			tail := exitUsage // of the pairs below, only with a bad flag while it runs
			if !running {
				tail = exitUnreachable
			}
			for _, c := range []struct {
				code int
				want string
				args []string
			}{
				{exitOK, "COMPLETED", []string{"search"}},
				{exitOK, "", []string{"search", "--id", "nobody"}},
				{exitOK, "a/b c", []string{"search", "--filter", `{"not":{"field":"id","value":"x"}}`, "--since", "1h", "--until", "2100-01-01T00:00:00Z"}},
				{exitOK, "attempt 1", []string{"show", "a/b c"}},
				{exitOK, "attempt 1", []string{"show", "a/b c", "--handler", "work"}},
				{exitNotFound, "not found", []string{"show", "nobody"}},
				{exitNotFound, "not found", []string{"show", "nobody", "--handler", "work"}},
				{exitUsage, "want a time", []string{"search", "--since", "yesterday"}},
				{exitUsage, "filter", []string{"search", "--filter", `{"fields":1}`}},
				{exitUsage, "NAME=VALUE", []string{"search", "--header", "tenant"}},
				{exitUsage, "want table", []string{"search", "--output", "xml"}},
				{exitUsage, "want debug", []string{"show", "x", "--level", "loud"}},
				{tail, "", []string{"tail", "--level", map[bool]string{true: "loud", false: "info"}[running]}},
			} {
				code, out, errs := s.run("", append([]string{"log"}, c.args...)...)
				require.Equal(t, c.code, code, "%v: %s%s", c.args, out, errs)
				require.Contains(t, out+errs, c.want, c.args)
			}
		})
	}
	t.Run("there is no such command", func(t *testing.T) {
		t.Parallel()
		code, _, errs := command(t, "", "log", "find")
		require.Equal(t, exitUsage, code)
		require.Contains(t, errs, "unknown command")
	})
	t.Run("tail where the log is off is refused", func(t *testing.T) {
		t.Parallel()
		s := begin(t, unique(fmt.Sprintf("message_log: {mode: off}"+passing, "main: {driver: embedded}", "with: {}")))
		code, _, errs := s.run("", "log", "tail")
		require.Equal(t, exitRefused, code)
		require.Contains(t, errs, "message_log.mode is off")
	})
}

// TestMessageLog_Journey: a message and what came of it, over all handlers.
func TestMessageLog_Journey(t *testing.T) {
	t.Parallel()
	c := unique(`
brokers: {main: {driver: embedded}}
topics: {in-~: {broker: main}, mid-~: {broker: main}, out-~: {broker: main}}
handlers:
  first: {kind: map, from: in-~, to: mid-~, with: {}}
  second: {kind: map, from: mid-~, to: out-~, with: {}}
  other: {kind: map, from: in-~, to: out-~, with: {}}
`)
	s := begin(t, c)
	_, after, _ := strings.Cut(c, "in-")
	id := s.publish("in-"+after[:8], `{}`)
	s.publish("in-"+after[:8], `{}`)
	s.eventually(func() bool { return len(s.searchLog("--correlation", id)) == 3 }, "all of it is logged")
	code, out, errs := s.run("", "log", "show", id)
	require.Zero(t, code, errs)
	for _, want := range []string{"first", "second", "other", "caused by " + id} {
		require.Contains(t, out, want)
	}
	second := s.searchLog("--correlation", id, "--handler", "second")[0]
	status, text := s.get("/api/v1/messages/" + second.Message)
	require.Equal(t, http.StatusOK, status)
	require.Contains(t, text, `"handler":"first"`, "from any message of it")
}
