package routerconfig_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/routerconfig"
)

const settable = `
brokers: {main: {driver: embedded}}
topics: {a: &a {key: [/id]}, b: *a, c.d: {}}
handlers:
  one: {kind: cut, from: a, to: b, with: {rules: [{when: x}]}}
  one.more: {kind: copy, from: c.d}
`

func TestSet(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		set  string
		want func(t *testing.T, l *routerconfig.Loaded)
	}{
		"a value": {"handlers.one.concurrency=4", func(t *testing.T, l *routerconfig.Loaded) {
			require.Equal(t, 4, l.Pipeline.Handlers[0].Concurrency)
		}},
		"a block that was not there": {"handlers.one.retry.immediate=0", func(t *testing.T, l *routerconfig.Loaded) {
			require.Zero(t, l.Pipeline.Handlers[0].Retry.Immediate)
		}},
		"a JSON Pointer": {"/handlers/one.more/timeout=1m", func(t *testing.T, l *routerconfig.Loaded) {
			require.Equal(t, "1m0s", l.Pipeline.Handlers[1].Timeout.String())
		}},
		"a key with dots in it": {"handlers.one.more.timeout=1m", func(t *testing.T, l *routerconfig.Loaded) {
			require.Equal(t, "1m0s", l.Pipeline.Handlers[1].Timeout.String())
		}},
		"YAML": {"topics.a.retention={age: 7d}", func(t *testing.T, l *routerconfig.Loaded) {
			require.Equal(t, "168h0m0s", l.Pipeline.Topics["a"].Retention.Age.String())
		}},
		"not what has an alias to it": {"topics.a.key=[/x]", func(t *testing.T, l *routerconfig.Loaded) {
			require.Equal(t, []string{"/x"}, l.Pipeline.Topics["a"].Key)
			require.Equal(t, []string{"/id"}, l.Pipeline.Topics["b"].Key)
		}},
		"an item of a list": {"handlers.one.with.rules.0.when=y", func(t *testing.T, l *routerconfig.Loaded) {
			require.Equal(t, "y", l.Pipeline.Handlers[0].Config.(*cutConfig).Rules[0].When)
		}},
		"an item after the last": {"handlers.one.with.rules.1={when: z}", func(t *testing.T, l *routerconfig.Loaded) {
			require.Len(t, l.Pipeline.Handlers[0].Config.(*cutConfig).Rules, 2)
		}},
		"a variable":          {"instance=${A}", func(t *testing.T, l *routerconfig.Loaded) { require.Equal(t, "1", l.Pipeline.Instance) }},
		"back to the default": {"topics.a.key=", func(t *testing.T, l *routerconfig.Loaded) { require.Empty(t, l.Pipeline.Topics["a"].Key) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			l, err := routerconfig.LoadBytes("waybill.yaml", []byte(settable), testOptions(c.set))
			require.NoError(t, err)
			c.want(t, l)
		})
	}
}

func TestSet_Findings(t *testing.T) {
	t.Parallel()
	for set, want := range map[string]string{
		"handlers.one.concurrency=four": `--set: handlers.one.concurrency: a whole number is needed, not "four"`,
		"handlers.one.concurency=4":     `--set: handlers.one.concurency: there is no such key (did you mean "concurrency"?)`,
		"handlers.one":                  "--set: \"handlers.one\" sets nothing (write --set path=value)",
		"=4":                            "--set: \"\" sets nothing (write --set path=value)",
		"topics.a=[":                    "--set: topics.a: sequence end token ']' not found",
		"topics.a.key.first=/x":         `--set: topics.a.key.first: "first" is not an index of this list`,
		"topics.a.key.3=/x":             `--set: topics.a.key.3: "3" is not an index of this list`,
		"handlers.one.kind.x=y":         `--set: handlers.one.kind.x: "x" is below a value that is neither map nor list`,
		"instance=${NOT_SET}":           "--set: instance: the environment variable NOT_SET is not set (set it, or give a default: ${NOT_SET:...})",
		"handlers.one.from=":            "waybill.yaml:5:20: handlers.one.from: it is missing (add it)",
	} {
		t.Run(set, func(t *testing.T) {
			t.Parallel()
			_, err := routerconfig.LoadBytes("waybill.yaml", []byte(settable), testOptions(set))
			require.EqualError(t, err, want)
		})
	}
}

// TestSet_TellsAll: faults of the file and of --set come together.
func TestSet_TellsAll(t *testing.T) {
	t.Parallel()
	_, err := routerconfig.LoadBytes("waybill.yaml", []byte("brokers: {}\nnothing: 1\n"), testOptions("data=5", "http.listen=x"))
	require.EqualError(t, err, `--set: data: text is needed, not 5 (put it in quotes)
--set: http.listen: this is not an address with a port (write for example 127.0.0.1:8080, or "off")
waybill.yaml:1:1: brokers: there is no broker (add brokers: {main: {driver: embedded}})
waybill.yaml:2:1: nothing: there is no such key (known keys: brokers, data, handlers, http, instance, message_log, shutdown_timeout, store, topics)`)
}
