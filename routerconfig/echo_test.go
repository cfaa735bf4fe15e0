package routerconfig_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/routerconfig"
)

// TestEcho_LoadsAgain: an echo gives the same pipeline and the same echo.
func TestEcho_LoadsAgain(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text, err := json.Marshal(drawConfig(t))
		require.NoError(t, err)
		requireEchoLoadsAgain(t, "waybill.yaml", text)
	})
}

// TestEcho_LoadsAgain_Files is the same for the files without secrets.
func TestEcho_LoadsAgain_Files(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"smallest", "embedded", "rabbitmq", "kafka", "anchors", "values"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := "testdata/good." + name + ".yaml"
			text, err := os.ReadFile(path)
			require.NoError(t, err)
			requireEchoLoadsAgain(t, path, text)
		})
	}
}

func requireEchoLoadsAgain(t require.TestingT, name string, text []byte) {
	first, err := routerconfig.LoadBytes(name, text, testOptions())
	require.NoError(t, err, "%s", text)
	second, err := routerconfig.LoadBytes(name, first.Echo(), testOptions())
	require.NoError(t, err, "%s", first.Echo())
	require.Equal(t, first.Pipeline, second.Pipeline, "%s", first.Echo())
	require.Equal(t, string(first.Echo()), string(second.Echo()))
}

// drawConfig draws a config that loads.
func drawConfig(t *rapid.T) map[string]any {
	names := rapid.StringMatching(`[A-Za-z0-9_-]{1,12}`)
	topics := rapid.SliceOfNDistinct(names, 1, 4, rapid.ID).Draw(t, "topics")
	topic := rapid.SampledFrom(topics)
	config := map[string]any{
		"data":             rapid.Map(rapid.StringMatching(`[a-z$./ {}-]{1,10}x`), escaped).Draw(t, "data"),
		"shutdown_timeout": rapid.SampledFrom([]string{"0", "1ns", "90m", "36h", "1w", "2d3h", "1m0.5s"}).Draw(t, "timeout"),
		"brokers":          map[string]any{"main": drawBroker(t)},
		"topics":           map[string]any{},
		"handlers":         map[string]any{},
	}
	for _, name := range topics {
		config["topics"].(map[string]any)[name] = drawTopic(t)
	}
	for _, name := range rapid.SliceOfNDistinct(names, 0, 3, rapid.ID).Draw(t, "handlers") {
		config["handlers"].(map[string]any)[name] = map[string]any{
			"kind": "cut", "from": topic.Draw(t, "from"), "to": topic.Draw(t, "to"),
			"concurrency": rapid.IntRange(1, 1000).Draw(t, "concurrency"),
			"start":       rapid.SampledFrom([]string{"oldest", "newest", "2026-01-31T08:00:00.5+02:00"}).Draw(t, "start"),
			"with":        drawWith(t),
		}
	}
	return config
}

func drawBroker(t *rapid.T) map[string]any {
	return rapid.SampledFrom([]map[string]any{
		{"driver": "embedded"},
		{"driver": "embedded", "path": "x/y.db", "group_prefix": "a-"},
		{"driver": "kafka", "url": "a:1, b:2", "tls": map[string]any{"enabled": true, "server_name": "x"}},
		{"driver": "rabbitmq", "url": "amqps://rabbit/orders"},
		{"driver": "rabbitmq", "host": "h", "user": "u", "password_file": "testdata/password.txt"},
	}).Draw(t, "broker")
}

func drawTopic(t *rapid.T) map[string]any {
	topic := map[string]any{
		"key":         rapid.SliceOfN(rapid.StringMatching(`/[a-z]{0,5}`), 0, 3).Draw(t, "key"),
		"partitions":  rapid.IntRange(0, 10000).Draw(t, "partitions"),
		"max_message": rapid.IntRange(0, 1<<30).Draw(t, "max_message"),
		"retention":   map[string]any{"bytes": rapid.SampledFrom([]string{"0", "7KiB", "3TB", "unlimited"}).Draw(t, "bytes")},
		"arguments":   drawFree(t, 2),
	}
	if rapid.Bool().Draw(t, "has routing key") {
		topic["routing_key"] = escaped(rapid.String().Draw(t, "routing key"))
	}
	return topic
}

func drawWith(t *rapid.T) map[string]any {
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[ \t\n:#'"$\{\}~0-9xa-e.|>@&*!%-]{0,9}`))
	with := map[string]any{
		"factor": rapid.Float64Range(0, 10).Draw(t, "factor"),
		"count":  rapid.Uint8().Draw(t, "count"),
		"labels": rapid.MapOf(text.Filter(notMerge), rapid.Map(text, escaped)).Draw(t, "labels"),
		"free":   drawFree(t, 3),
		"quiet":  rapid.Bool().Draw(t, "quiet"),
	}
	if rapid.Bool().Draw(t, "has rules") {
		with["rules"] = []any{map[string]any{"when": escaped(text.Draw(t, "when")), "wait": "0"}}
	}
	return with
}

// drawFree draws what may stand where the form is free: a map of anything.
func drawFree(t *rapid.T, depth int) map[string]any {
	out := map[string]any{}
	for _, key := range rapid.SliceOfN(rapid.String().Filter(notMerge), 0, 3).Draw(t, "keys") {
		switch rapid.IntRange(0, depth+4).Draw(t, "form") {
		case 0:
			out[key] = escaped(rapid.String().Draw(t, "text"))
		case 1:
			out[key] = rapid.Int64().Draw(t, "int")
		case 2:
			out[key] = rapid.Float64Range(-1e18, 1e18).Draw(t, "float")
		case 3:
			out[key] = rapid.SampledFrom([]any{nil, true, false}).Draw(t, "word")
		case 4:
			out[key] = []any{escaped(rapid.String().Draw(t, "item")), nil, []any{}}
		default:
			out[key] = drawFree(t, depth-1)
		}
	}
	return out
}

// notMerge leaves out the one key that means something else in YAML.
func notMerge(key string) bool { return key != "<<" }

// escaped is text without variables as a config has it.
func escaped(text string) string {
	var out []byte
	for i := range len(text) {
		if text[i] == '$' {
			out = append(out, '$')
		}
		out = append(out, text[i])
	}
	return string(out)
}

// TestEcho_Secrets: an echo shows no secret, and its loading says which one is
// hidden.
func TestEcho_Secrets(t *testing.T) {
	t.Parallel()
	loaded, err := routerconfig.Load("testdata/good.full.yaml", testOptions())
	require.NoError(t, err)
	require.NotContains(t, string(loaded.Echo()), "hunter2")
	_, err = routerconfig.LoadBytes("testdata/echo.yaml", loaded.Echo(), testOptions())
	require.ErrorContains(t, err, "brokers.kafka.sasl.password: this is a secret that echo has hidden")
	require.ErrorContains(t, err, "store.url: this is a secret")
}

// TestVersion: it follows the effective config, not how it is written, and not
// its secrets.
func TestVersion(t *testing.T) {
	t.Parallel()
	load := func(t *testing.T, text string) pipeline.Pipeline {
		t.Helper()
		loaded, err := routerconfig.LoadBytes("waybill.yaml", []byte(text), testOptions())
		require.NoError(t, err)
		return loaded.Pipeline
	}
	const (
		brokers  = "brokers: {main: {driver: rabbitmq, host: h, user: u, password: one}}\ntopics: {a: , b: }\nhandlers:\n"
		one, two = "  one: {kind: call, from: a, start: newest, with: {token: x}}\n", "  two: {kind: call, from: b}\n"
	)
	first := load(t, brokers+one+two)
	require.Len(t, first.Version, 12)
	t.Run("stays with another secret, order and spelling", func(t *testing.T) {
		t.Parallel()
		again := load(t, `brokers: {main: {driver: rabbitmq, host: h, user: u, password: "two"}}
topics: {b: {}, a: {broker: main}}
handlers:
  two: {kind: call, from: b, timeout: 0.5m}
  one: {with: {token: "y"}, kind: call, from: a, start: newest, concurrency: 16}
`)
		require.Equal(t, first.Version, again.Version)
		require.Equal(t, first.Handlers[0].Version, again.Handlers[0].Version)
	})
	t.Run("changes with a handler, and only that one's", func(t *testing.T) {
		t.Parallel()
		other := load(t, brokers+one+"  two: {kind: call, from: b, timeout: 31s}\n")
		require.NotEqual(t, first.Version, other.Version)
		require.Equal(t, first.Handlers[0].Version, other.Handlers[0].Version)
		require.NotEqual(t, first.Handlers[1].Version, other.Handlers[1].Version)
	})
}
