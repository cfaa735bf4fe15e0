package generic_test

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/generic"
	"github.com/waybill-dev/waybill/handlers/handlertest"
)

const rules = `rules:
- {when: meta.vip == "yes", to: vip}
- {when: payload.total > 1000, to: large}
- {when: payload.total > 100, to: large}
- {when: 'true', to: rest}
`

func TestRoute(t *testing.T) {
	t.Parallel()

	t.Run("the first rule that is true decides", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Route(), rules, "vip", "large", "rest")
		outs := handle(t, h, handlertest.Message(payload, "k", "v"))
		require.Equal(t, []string{"large"}, names(outs))
		require.Equal(t, payload, string(outs[0].Payload))
		require.Equal(t, "v", outs[0].Metadata.Get("k"))
		require.Equal(t, []string{"rest"}, names(handle(t, h, handlertest.Message(`{"total":1}`))))
	})
	t.Run("1-13 a header can say what a message is for; one without it, or with another, fails with the reason", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Route(), "rules: [{when: meta.type == 'shop.add', to: add}, {when: meta.type == 'shop.remove', to: remove}]", "add", "remove")
		require.Equal(t, []string{"remove"}, names(handle(t, h, handlertest.Message("no JSON", "type", "shop.remove"))))
		requireInvalid(t, h, handlertest.Message(payload), "no rule")
		requireInvalid(t, h, handlertest.Message(payload, "type", "shop.nothing"), "no rule")
	})
	t.Run("with all, every rule that is true does, each output once", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Route(), "all: true\n"+rules, "vip", "large", "rest")
		require.Equal(t, []string{"vip", "large", "rest"}, names(handle(t, h, handlertest.Message(payload, "vip", "yes"))))
		require.Equal(t, []string{"large", "rest"}, names(handle(t, h, handlertest.Message(`{"total":500}`))))
	})
	t.Run("a rule is not asked once an earlier one has decided", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Route(), rules, "vip", "large", "rest")
		require.Equal(t, []string{"vip"}, names(handle(t, h, handlertest.Message("no JSON", "vip", "yes"))))
		requireInvalid(t, h, handlertest.Message("no JSON"), "not valid JSON")
	})
}

func TestRoute_Otherwise(t *testing.T) {
	t.Parallel()
	const rule = "rules: [{when: meta.a == 'b', to: x}]\n"

	t.Run("fail is the default", func(t *testing.T) {
		t.Parallel()
		requireInvalid(t, start(t, generic.Route(), rule, "x"), handlertest.Message(payload), "no rule")
	})
	t.Run("drop", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Route(), rule+"otherwise: drop", "x")
		require.Empty(t, handle(t, h, handlertest.Message(payload)))
		require.Equal(t, []string{"message dropped"}, h.LogAt(slog.LevelDebug))
	})
	t.Run("an output", func(t *testing.T) {
		t.Parallel()
		h := start(t, generic.Route(), rule+"otherwise: y", "x", "y")
		require.Equal(t, []string{"y"}, names(handle(t, h, handlertest.Message(payload))))
	})
}

// The loader holds these names against the handler's `to:`.
func TestRoute_NamesItsOutputs(t *testing.T) {
	t.Parallel()
	config := &generic.RouteConfig{
		Rules:     []generic.RouteRule{{To: "a"}, {To: "b"}, {To: "a"}},
		Otherwise: "c",
	}
	require.Equal(t, []string{"a", "b", "c"}, generic.Route().Outputs(config))
	config.Otherwise = "drop"
	require.Equal(t, []string{"a", "b"}, generic.Route().Outputs(config))
}
