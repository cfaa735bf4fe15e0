package notify_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/handlers/notify"
	"github.com/waybill-dev/waybill/pipeline"
)

const payload = `{ "orderId":"ORD-1","userId":"u" }`

func TestNotify(t *testing.T) {
	t.Parallel()

	t.Run("it logs one line", func(t *testing.T) {
		t.Parallel()
		h := handlertest.Start(t, notify.Kind(), handlertest.Params{})
		outs, err := h.Handle(handlertest.Message(payload))
		require.NoError(t, err)
		require.Empty(t, outs)
		require.Equal(t, []string{"🔔 Notification: order.processed ORD-1"}, h.Log())
	})
	t.Run("its output gets the order with the predicate", func(t *testing.T) {
		t.Parallel()
		h := handlertest.Start(t, notify.Kind(), handlertest.Params{With: "predicate: order.shipped.today", Outputs: []string{""}})
		outs, err := h.Handle(handlertest.Message(payload, pipeline.MetaCorrelationID, "c-1"))
		require.NoError(t, err)
		require.Len(t, outs, 1)
		require.Equal(t, payload, string(outs[0].Payload))
		require.Equal(t, "order.shipped.today", outs[0].Metadata.Get(notify.MetaPredicate))
		require.Equal(t, "c-1", outs[0].Metadata.Get(pipeline.MetaCorrelationID))
		require.Equal(t, []string{"🔔 Notification: order.shipped.today ORD-1"}, h.Log())
	})
	t.Run("the line is a template, and stays one line", func(t *testing.T) {
		t.Parallel()
		h := handlertest.Start(t, notify.Kind(), handlertest.Params{With: "text: '{{.Meta.who}}: {{.Order.User}}'"})
		_, err := h.Handle(handlertest.Message(payload, "who", "a\nb"))
		require.NoError(t, err)
		require.Equal(t, []string{"a b: u"}, h.Log())
	})
}

func TestNotify_Invalid(t *testing.T) {
	t.Parallel()
	h := handlertest.Start(t, notify.Kind(), handlertest.Params{With: "text: '{{.Meta.who}}'"})
	for _, payload := range []string{`no order`, payload} {
		_, err := h.Handle(handlertest.Message(payload))
		require.True(t, pipeline.IsPermanent(err))
		require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
	}
}

func TestConfig(t *testing.T) {
	t.Parallel()
	for with, want := range map[string]string{
		"predicate: ''":          "/predicate: must be words",
		"predicate: a..b":        "/predicate: must be words",
		"predicate: .a":          "/predicate: must be words",
		"predicate: a.":          "/predicate: must be words",
		"text: '{{.Order.'":      "/text: ",
		"predicate: [a]":         "cannot",
		"predicates: order.made": "unknown field",
	} {
		_, err := handlertest.New(t, notify.Kind(), handlertest.Params{With: with})
		require.ErrorContains(t, err, want, with)
	}
}
