package generic_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/generic"
	"github.com/waybill-dev/waybill/handlers/handlertest"
)

func TestFilter(t *testing.T) {
	t.Parallel()

	t.Run("what the condition is true for goes on, byte for byte", func(t *testing.T) {
		t.Parallel()
		outs := handle(t, start(t, generic.Filter(), "when: payload.total == 2960.1", "a", "b"), handlertest.Message(payload, "k", "v"))
		require.Equal(t, []string{"a", "b"}, names(outs))
		require.Equal(t, payload, string(outs[1].Payload))
		require.Equal(t, "v", outs[1].Metadata.Get("k"))
	})
	t.Run("the rest is dropped, which the log says at debug", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Filter(), "when: meta.shop == 'x'", "")
		for range 3 {
			require.Empty(t, handle(t, h, handlertest.Message("no JSON", "shop", "y")))
		}
		require.Empty(t, h.Log())
		require.Len(t, h.LogAt(slog.LevelDebug), 3)
		require.Contains(t, h.LogText(), `"dropped":3`)
	})
	t.Run("what the condition fails on is a dead letter", func(t *testing.T) {
		t.Parallel()
		requireInvalid(t, start(t, generic.Filter(), "when: payload.id > 1", ""), handlertest.Message(payload), "payload.id > 1")
		requireInvalid(t, start(t, generic.Filter(), "when: payload.id", ""), handlertest.Message(payload), "payload.id")
		requireInvalid(t, start(t, generic.Filter(), "when: payload.id == '1'", ""), handlertest.Message(`{"id":"1","id":"1"}`), "not valid JSON")
	})
}

func TestConfigs(t *testing.T) {
	t.Parallel()

	for name, tc := range map[string]struct {
		with, want string
	}{
		"map: payload":           {"payload: order.id", "/payload: "},
		"map: meta":              {"meta: {'a/b': '1 +'}", "/meta/a~1b: "},
		"map: delay":             {"delay: -1s", "/delay: must not be negative"},
		"filter: nothing":        {"", "/when: a condition is needed"},
		"filter: when":           {"when: lines.a", "/when: "},
		"filter: no condition":   {"when: '1'", "/when: "},
		"route: nothing":         {"", "/rules: at least one rule is needed"},
		"route: when":            {"rules: [{when: 'true', to: a}, {when: '(', to: b}]", "/rules/1/when: "},
		"route: no output":       {"rules: [{when: 'true'}]", "/rules/0/to: the name of an output is needed"},
		"route: a word of ours":  {"rules: [{when: 'true', to: drop}]", "/rules/0/to: an output of a route cannot be named drop"},
		"route: otherwise blank": {"rules: [{when: 'true', to: a}]\notherwise: ''", "/otherwise: "},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			kind := generic.Map()
			switch name[:3] {
			case "fil":
				kind = generic.Filter()
			case "rou":
				kind = generic.Route()
			}
			_, err := handlertest.New(t, kind, handlertest.Params{With: tc.with})
			require.ErrorContains(t, err, tc.want)
		})
	}
}
