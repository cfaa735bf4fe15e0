package app

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

// command runs a command line that needs no config of a stand.
func command(t *testing.T, in string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e syncBuffer
	code = execute(context.Background(), context.Background(), &interrupts{}, Options{Kinds: handlers.Builtin()}, args, strings.NewReader(in), &o, &e)
	return code, o.String(), e.String()
}

func TestPublishAndTail(t *testing.T) {
	t.Parallel()
	for driver, brokers := range brokersUnderTest(t) {
		for _, running := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s/running=%v", driver, running), func(t *testing.T) {
				t.Parallel()
				config := unique(fmt.Sprintf("brokers: {%s}\ntopics: {log-~: {broker: main, key: /k}}\n", brokers))
				_, after, _ := strings.Cut(config, "log-")
				topic := "log-" + after[:8]
				s := prepareStand(t, config)
				if running {
					s.open()
				}
				binary := string([]byte{0xff, 0x00, '\n', 0xfe})
				file := filepath.Join(t.TempDir(), "binary")
				require.NoError(t, os.WriteFile(file, []byte(binary), 0o600))

				code, ids, errs := s.run("{\"k\":\"a\"}\n\n{\"k\":\"b\"}\n", "publish", topic, "--lines", "-", "--meta", "source=shop")
				require.Zero(t, code, errs)
				require.Len(t, strings.Fields(ids), 2, "an id a line, empty lines are none")
				code, more, errs := s.run("", "publish", topic, file, "--key", "c")
				require.Zero(t, code, errs)

				code, out, errs := s.run("", "tail", topic, "--from", "oldest", "-n", "3", "--json", "--timeout", "30s")
				require.Zero(t, code, errs)
				seen := map[string]dashboard.Message{}
				for line := range strings.Lines(out) {
					var m dashboard.Message
					require.NoError(t, json.Unmarshal([]byte(line), &m))
					require.Equal(t, topic, m.Topic)
					seen[m.Key] = m
				}
				require.Equal(t, strings.Fields(ids)[0], seen["a"].ID)
				require.Equal(t, strings.Fields(ids)[1], seen["b"].ID)
				require.Equal(t, strings.TrimSpace(more), seen["c"].ID)
				require.Equal(t, `{"k":"a"}`, *seen["a"].Payload)
				require.Equal(t, "shop", seen["a"].Metadata["source"])
				require.Nil(t, seen["c"].Payload)
				require.Equal(t, binary, string(seen["c"].PayloadBase64))

				code, out, errs = s.run("", "tail", topic, "--from", "oldest", "-n", "4", "--timeout", "500ms")
				require.Equal(t, exitFailure, code, "fewer than asked for")
				require.Contains(t, errs, "3 of 4 messages")
				require.Contains(t, out, `{"k":"a"}`+"\n")
				require.Contains(t, out, binary+"\n", "bytes as they are")

				code, _, errs = s.run("", "publish", "nowhere", "-")
				require.Equal(t, exitNotFound, code, errs)
				code, _, errs = s.run("", "tail", "nowhere")
				require.Equal(t, exitNotFound, code, errs)
			})
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	bad := filepath.Join(dir, "bad.yaml")
	require.NoError(t, os.WriteFile(bad, []byte("brokers: {main: {driver: rabitmq}}\ntopics: {a: {brokr: main}}\n"), 0o600))
	down := filepath.Join(dir, "down.yaml")
	require.NoError(t, os.WriteFile(down, fmt.Appendf(nil, "brokers: {main: {driver: rabbitmq, url: \"amqp://shop:CloudKart%%40123@127.0.0.1:%s/\"}}\ntopics: {a: {broker: main}}\n", freePort(t)), 0o600))
	for name, c := range map[string]struct {
		args []string
		code int
		want string
	}{
		"version":               {[]string{"version"}, exitOK, "waybill "},
		"help":                  {[]string{"--help"}, exitOK, "Available Commands"},
		"unknown command":       {[]string{"rum"}, exitUsage, "unknown command"},
		"unknown flag":          {[]string{"run", "--nope"}, exitUsage, "Try: waybill --help"},
		"bad log level":         {[]string{"run", "--log-level", "loud"}, exitUsage, "want debug"},
		"bad --from":            {[]string{"tail", "a", "--from", "middle"}, exitUsage, "oldest or newest"},
		"bad --seed":            {[]string{"run", "--seed", "x"}, exitUsage, "topic=FILE"},
		"config that is wrong":  {[]string{"lint", bad}, exitFailure, bad + ":2:14: "},
		"all faults at once":    {[]string{"lint", bad}, exitFailure, bad + ":1:"},
		"run of a wrong config": {[]string{"run", "--config", bad}, exitFailure, bad + ":2:14: "},
		"no config":             {[]string{"run", "--config", filepath.Join(dir, "none.yaml")}, exitFailure, "none.yaml"},
		"server not there":      {[]string{"publish", "a", "--server", "http://127.0.0.1:" + freePort(t)}, exitUnreachable, "reach waybill"},
		"server ends":           {[]string{"publish", "a", "--server", hangsUp(t)}, exitUnreachable, "may be done, in part, or not"},
		"server ends a look":    {[]string{"dlq", "groups", "--server", hangsUp(t)}, exitUnreachable, "reach waybill"},
		"server that is no URL": {[]string{"publish", "a", "--server", "localhost"}, exitUsage, "want a URL"},
		"broker not there":      {[]string{"publish", "a", "--config", down, "--set", "data=" + filepath.Join(dir, "data")}, exitUnreachable, "shop"},
		"doctor, not there":     {[]string{"doctor", "--config", down, "--set", "data=" + filepath.Join(dir, "data2")}, exitUnreachable, "cannot be reached"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			code, out, errs := command(t, "{}", c.args...)
			require.Equal(t, c.code, code, out+errs)
			require.Contains(t, out+errs, c.want)
			require.NotContains(t, out+errs, "CloudKart")
		})
	}
}

// hangsUp is the URL of a server that dies of every request.
func hangsUp(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }))
	t.Cleanup(s.Close)
	return s.URL
}

func TestEveryCommandHasExamples(t *testing.T) {
	t.Parallel()
	c := &cli{}
	for _, cmd := range c.root().Commands() {
		if cmd.Name() != "version" {
			require.Contains(t, cmd.Example, "waybill "+cmd.Name(), cmd.Name())
		}
	}
}

func TestEchoAndGraph(t *testing.T) {
	t.Parallel()
	const file = "../../../deploy/sample/embedded.yaml"
	code, out, errs := command(t, "", "echo", "--config", file, "--set", "handlers.prepare.concurrency=7")
	require.Zero(t, code, errs)
	require.Contains(t, out, "concurrency: 7")
	require.Contains(t, out, "shutdown_timeout: 20s")

	code, out, errs = command(t, "", "graph", "--config", file)
	require.Zero(t, code, errs)
	require.Contains(t, out, "flowchart LR")
	require.Contains(t, out, "-- email -->")
	code, out, errs = command(t, "", "graph", "--config", file, "--format", "dot", "--dead-letters")
	require.Zero(t, code, errs)
	require.Contains(t, out, `"handler prepare" -> "topic orders-in.prepare.dlq" [style=dashed label=dead];`)

	move := []string{"graph", "--config", file, "--set", "brokers.old={driver: embedded, path: old.db}", "--set", "topics.orders-in.draining=old", "--set", "topics.orders-in.broker=main"}
	code, out, errs = command(t, "", move...)
	require.Zero(t, code, errs)
	require.Contains(t, out, `[("orders-in on old")] -. draining .-> `)
	code, out, errs = command(t, "", append(move, "--format", "dot")...)
	require.Zero(t, code, errs)
	require.Contains(t, out, `"topic orders-in on old" -> "handler prepare" [style=dashed label=draining];`)
	code, _, _ = command(t, "", "graph", "--config", file, "--format", "png")
	require.Equal(t, exitUsage, code)
}

// The three sample files differ in their `brokers:` block alone.
func TestSamplesDifferInTheBrokerAlone(t *testing.T) {
	t.Parallel()
	rest := func(name string) string {
		text, err := os.ReadFile("../../../deploy/sample/" + name + ".yaml")
		require.NoError(t, err)
		_, after, ok := strings.Cut(string(text), "\ntopics:")
		require.True(t, ok)
		return after
	}
	require.Equal(t, rest("embedded"), rest("rabbitmq"))
	require.Equal(t, rest("embedded"), rest("kafka"))
}

func TestSeed(t *testing.T) {
	t.Parallel()
	config := unique("brokers: {main: {driver: embedded}}\ntopics: {log-~: {broker: main}}\n")
	_, after, _ := strings.Cut(config, "log-")
	topic := "log-" + after[:8]
	file := filepath.Join(t.TempDir(), "seed")
	require.NoError(t, os.WriteFile(file, []byte("{\"n\":1}\n{\"n\":2}\n"), 0o600))
	s := prepareStand(t, config)
	for range 2 {
		ctx, cancel := context.WithCancel(context.Background())
		var log syncBuffer
		done := make(chan int)
		go func() {
			done <- execute(ctx, context.Background(), &interrupts{}, Options{Kinds: handlers.Builtin()},
				[]string{"run", "--config", s.config, "--set", "data=" + s.data(), "--set", "http.listen=off", "--seed", topic + "=" + file}, strings.NewReader(""), &log, &log)
		}()
		s.eventually(func() bool { return strings.Contains(log.String(), "seeded") }, "it is seeded, or was")
		cancel()
		require.Zero(t, <-done, log.String())
	}
	_, out, errs := s.run("", "tail", topic, "--from", "oldest", "-n", "3", "--timeout", "200ms")
	require.Contains(t, errs, "2 of 3", "the second run adds nothing")
	require.Equal(t, "{\"n\":1}\n{\"n\":2}\n", out)
}

func TestGeneratedDocuments(t *testing.T) {
	t.Parallel()
	for file, args := range map[string][]string{"config.md": {"schema", "--reference"}, "schema.json": {"schema"}} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			code, out, errs := command(t, "", args...)
			require.Zero(t, code, errs)
			text, err := os.ReadFile("../../../docs/" + file)
			require.NoError(t, err)
			require.Equal(t, out, string(text), "run `make generate`")
		})
	}
}

// A topic that had messages is not seeded, also from a new data folder: the
// brokers that keep a log know of what is gone.
func TestSeed_OtherDataFolder(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("-short: no server")
	}
	config := unique(fmt.Sprintf("brokers: {main: {driver: kafka, url: %q}}\ntopics: {log-~: {broker: main}}\n", needEnv(t, "KAFKA_BROKERS")))
	_, after, _ := strings.Cut(config, "log-")
	topic := "log-" + after[:8]
	file := filepath.Join(t.TempDir(), "seed")
	require.NoError(t, os.WriteFile(file, []byte("{\"n\":1}\n"), 0o600))
	for _, want := range []string{"topic is seeded", "not seeded"} {
		s := prepareStand(t, config)
		ctx, cancel := context.WithCancel(context.Background())
		var log syncBuffer
		done := make(chan int)
		go func() {
			done <- execute(ctx, context.Background(), &interrupts{}, Options{Kinds: handlers.Builtin()},
				[]string{"run", "--config", s.config, "--set", "data=" + s.data(), "--set", "http.listen=off", "--seed", topic + "=" + file}, strings.NewReader(""), &log, &log)
		}()
		s.eventually(func() bool { return strings.Contains(log.String(), want) }, want)
		cancel()
		require.Zero(t, <-done, log.String())
	}
}
