package routerconfig

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestExpand(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		value, ok := map[string]string{"A": "1", "EMPTY": "", "TRICKY": "${A}: [$$"}[name]
		return value, ok
	}
	for text, want := range map[string]string{
		"":                        "",
		"plain":                   "plain",
		"${A}":                    "1",
		"<${A}${A}>":              "<11>",
		"${B:x}":                  "x",
		"${B:}":                   "",
		"${EMPTY:x}":              "",
		"${A:x}":                  "1",
		"${B:amqp://u:p@h:1/%2F}": "amqp://u:p@h:1/%2F",
		"${TRICKY}":               "${A}: [$$",
		"$":                       "$",
		"5$ and $x":               "5$ and $x",
		"$$":                      "$",
		"$${A}":                   "${A}",
		"$$${A}":                  "$1",
		"$$$$":                    "$$",
		"x$":                      "x$",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			out, _, err := expand(text, env)
			require.NoError(t, err)
			require.Equal(t, want, out)
		})
	}
	for text, want := range map[string]string{
		"${B}":      "the environment variable B is not set",
		"${":        "${ without a variable's name and }",
		"${A":       "${ without a variable's name and }",
		"${1}":      "${ without a variable's name and }",
		"${A-x}":    "${ without a variable's name and }",
		"${B:${A}}": "a variable in the default of another",
	} {
		t.Run(text, func(t *testing.T) {
			t.Parallel()
			_, _, err := expand(text, env)
			require.EqualError(t, err, want)
		})
	}
}

func TestEscape_UndoesExpand(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[${}a]{0,12}`).Draw(t, "text")
		out, used, err := expand(escape(text), nil)
		require.NoError(t, err)
		require.False(t, used)
		require.Equal(t, text, out)
	})
}

func TestDuration_ReadsWhatItWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		unit := rapid.SampledFrom([]time.Duration{1, time.Millisecond, time.Second, time.Minute, time.Hour, day}).Draw(t, "unit")
		d := time.Duration(rapid.Int64Range(0, int64(longest/unit)).Draw(t, "count")) * unit
		back, err := parseDuration(formatDuration(d))
		require.NoError(t, err)
		require.Equal(t, d, back)
	})
}

func TestDuration(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{
		"0": 0, "0s": 0, "7d": 7 * day, "2w": 14 * day, "1w2d3h4m": 9*day + 3*time.Hour + 4*time.Minute, "1.5h": 90 * time.Minute,
	} {
		d, err := parseDuration(text)
		require.NoError(t, err, text)
		require.Equal(t, want, d, text)
	}
	for _, text := range []string{"", "5", "d", "1.5d", "-1s", "1d-1s", "1d2w", "1y", "5 m", "99999999999w", "9999999h"} {
		_, err := parseDuration(text)
		require.Error(t, err, text)
	}
	for want, d := range map[string]time.Duration{"1m": time.Minute, "10m": 10 * time.Minute, "1h": time.Hour, "10h10m": 610 * time.Minute, "36h": 36 * time.Hour, "2d": 2 * day, "0s": 0} {
		require.Equal(t, want, formatDuration(d))
	}
}

func TestSize_ReadsWhatItWrites(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := size(rapid.Int64Range(0, 1<<62).Draw(t, "size"))
		text, err := s.MarshalText()
		require.NoError(t, err)
		var back size
		require.NoError(t, back.UnmarshalText(text))
		require.Equal(t, s, back)
	})
}

func TestSize(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]size{"0": 0, "12": 12, "12B": 12, "1KB": 1000, "1KiB": 1024, "10 GiB": 10 << 30, "2TB": 2e12} {
		var s size
		require.NoError(t, s.UnmarshalText([]byte(text)), text)
		require.Equal(t, want, s, text)
	}
	for _, text := range []string{"", "-1", "1.5MiB", "1Mb", "1M", "MiB", "9223372036854775808", "8388608TiB"} {
		require.Error(t, new(size).UnmarshalText([]byte(text)), text)
	}
}

func TestServerURL_HidesWhatIsSecret(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]serverURL{
		"amqp://h:5672/":                      "amqp://h:5672/",
		"amqp://u@h/":                         "amqp://u@h/",
		"amqp://u:<secret>@h/%2F?heartbeat=5": "amqp://u:p%40@h/%2F?heartbeat=5",
		"k1:9092,k2:9092":                     "k1:9092,k2:9092",
		"sqlite:waybill.db":                   "sqlite:waybill.db",
		"postgres://h/db?password=<secret>":   "postgres://h/db?password=p",
		"<secret>":                            "amqp://u:p%zz@h/",
	} {
		require.Equal(t, text, want.String())
		text, err := want.MarshalText()
		require.NoError(t, err)
		require.Equal(t, want.String(), string(text))
	}
	require.NotContains(t, fmt.Sprint(serverURL("amqp://u:hunter2@h/")), "hunter2")
}

func TestNearest(t *testing.T) {
	t.Parallel()
	names := []string{"from", "to", "concurrency", "in_flight"}
	for word, want := range map[string]string{
		"form": "from", "fro": "from", "concurency": "concurrency", "inflight": "in_flight", "in-flight": "in_flight",
		"tp": "to", "x": "", "something": "", "": "",
	} {
		require.Equal(t, want, nearest(word, names), word)
	}
}

func TestPointer(t *testing.T) {
	t.Parallel()
	p := pointer("").key("a/b").key("c~d").index(3)
	require.Equal(t, pointer("/a~1b/c~0d/3"), p)
	require.Equal(t, []string{"a/b", "c~d", "3"}, p.tokens())
	require.Equal(t, "a/b.c~d.3", p.path())
	require.Equal(t, pointer("/a~1b/c~0d"), p.parent())
	require.Equal(t, pointer(""), pointer("").parent())
}

// TestParse_Deep: what would take the parser's stack or memory is refused
// before it is parsed.
func TestParse_Deep(t *testing.T) {
	t.Parallel()
	for _, unit := range []string{"[", "- ", "{a: ", "? ", "!!str ", "a: &a ["} {
		r := newReport("f")
		parse([]byte(strings.Repeat(unit, 20_000)), place{"f", 1, 1}, nil, r)
		require.ErrorContains(t, r.findings, "nested more than 100 deep", unit)
	}
	r := newReport("f")
	parse(make([]byte, maxBytes+1), place{"f", 1, 1}, nil, r)
	require.ErrorContains(t, r.findings, "larger than 1 MiB")
}
