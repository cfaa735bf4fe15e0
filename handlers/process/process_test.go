package process_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/handlers/process"
	"github.com/waybill-dev/waybill/pipeline"
)

const (
	f1 = `{"orderId":"ORD-1702554000123","sessionId":"session-12345","userId":"657b1f2e9d3c4a5b6c7d8e9f",` +
		`"items":[{"sku":"CLOUD-01","name":"Cloud Hoodie","price":1999,"quantity":1},` +
		`{"sku":"SHIPPING","name":"Shipping Cost","price":501,"quantity":1}],` +
		`"total":2500.00,"timestamp":"2023-12-14T11:40:00.123Z","paymentId":"pay_N1"}`
	f2 = `{"orderid":"0a7b5c1e","user":"session-12345","cart":{"total":2960.10,"items":[` +
		`{"sku":"CLOUD-01","name":"Cloud Hoodie","qty":1,"price":1999,"subtotal":1999},` +
		`{"sku":"SHIPPING","name":"Shipping Cost","qty":1,"price":961.10,"subtotal":961.10}]}}`
	lines = `{"id":"77","order_lines":[{"sku":"FRAME-1","quantity":2},{"sku":"OIL","quantity":1.5,"price":10}]}`
)

func TestProcess_Log(t *testing.T) {
	t.Parallel()

	t.Run("2-06 the log shows a new order with its items", func(t *testing.T) {
		t.Parallel()
		h := start(t, "")
		handle(t, h, f1)
		require.Equal(t, []string{
			"📦 NEW ORDER RECEIVED",
			"Order ID: ORD-1702554000123",
			"User: 657b1f2e9d3c4a5b6c7d8e9f",
			"Total: ₹2500.00",
			"Items: 2",
			"  - Cloud Hoodie x 1 = ₹1999.00",
			"  - Shipping Cost x 1 = ₹501.00",
		}, h.Log()[:7])
	})
	t.Run("2-06 the log shows an order with a cart", func(t *testing.T) {
		t.Parallel()
		h := start(t, "")
		handle(t, h, f2)
		require.Equal(t, []string{
			"📦 NEW ORDER RECEIVED",
			"Order ID: 0a7b5c1e",
			"User: session-12345",
			"Total: ₹2960.10",
			"Items: 2",
			"  - Cloud Hoodie x 1 = ₹1999.00",
			"  - Shipping Cost x 1 = ₹961.10",
		}, h.Log()[:7])
	})
	t.Run("2-06 an order with order_lines shows what it has", func(t *testing.T) {
		t.Parallel()
		h := start(t, "")
		handle(t, h, lines)
		require.Equal(t, []string{
			"📦 NEW ORDER RECEIVED",
			"Order ID: 77",
			"User: ",
			"Total: not given",
			"Items: 2",
			"  - FRAME-1 x 2",
			"  - OIL x 1.5 = ₹15.00",
		}, h.Log()[:7])
	})
	t.Run("2-07 then that it is processed, in this order", func(t *testing.T) {
		t.Parallel()
		h := start(t, "")
		handle(t, h, f1)
		require.Equal(t, []string{"🔄 Processing order…", "✅ Order processed successfully!"}, h.Log()[7:])
	})
	t.Run("2-45 the currency is a setting", func(t *testing.T) {
		t.Parallel()
		h := start(t, "currency: '$'")
		handle(t, h, f1)
		require.Contains(t, h.Log(), "Total: $2500.00")
		require.Contains(t, h.Log(), "  - Shipping Cost x 1 = $501.00")
	})
	t.Run("2-45 amounts come from decimal text", func(t *testing.T) {
		t.Parallel()
		h := start(t, "")
		handle(t, h, `{"id":"1","user":"u","items":[{"name":"a","price":9007199254740993.01,"quantity":3}],"total":27021597764222979.03}`)
		require.Contains(t, h.Log(), "Total: ₹27021597764222979.03")
		require.Contains(t, h.Log(), "  - a x 3 = ₹27021597764222979.03")
	})
	t.Run("a line break in a name forges no line", func(t *testing.T) {
		t.Parallel()
		h := start(t, "")
		handle(t, h, `{"id":"1","user":"u","items":[{"name":"a\n✅ Order\u2028paid","price":1,"quantity":1}],"total":1}`)
		require.Contains(t, h.Log(), "  - a ✅ Order paid x 1 = ₹1.00")
	})
	t.Run("a line has an end", func(t *testing.T) {
		t.Parallel()
		h := start(t, "")
		handle(t, h, `{"id":"`+strings.Repeat("ä", 100_000)+`","user":"u","items":[{"price":1,"quantity":1}],"total":1}`)
		require.Less(t, len(h.Log()[1]), 2_000)
	})
}

func TestProcess_SimulateDelay(t *testing.T) {
	t.Parallel()

	t.Run("2-08 processing takes the simulated delay, before it succeeds", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h, began := start(t, "simulate_delay: 1s"), time.Now()
			handle(t, h, f1)
			require.Equal(t, time.Second, time.Since(began))
		})
	})
	t.Run("2-08 there is none by default", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			h, began := start(t, ""), time.Now()
			handle(t, h, f1)
			require.Zero(t, time.Since(began))
		})
	})
	t.Run("a stop does not wait for it", func(t *testing.T) {
		t.Parallel()
		h := start(t, "simulate_delay: 1h")
		msg := handlertest.Message(f1)
		ctx, cancel := context.WithCancelCause(t.Context())
		msg.SetContext(ctx)
		cancel(pipeline.ErrStopping)
		outs, err := h.Handle(msg)
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.Empty(t, outs)
		require.NotContains(t, h.Log(), "✅ Order processed successfully!")
	})
}

func TestProcess_Outputs(t *testing.T) {
	t.Parallel()

	t.Run("2-43 each effect gets a message of its own", func(t *testing.T) {
		t.Parallel()
		h := start(t, "", "email", "notification", "warehouse")
		msg := handlertest.Message(f1, pipeline.MetaCorrelationID, "c-1", pipeline.MetaContentType, "application/json")
		outs, err := h.Handle(msg)
		require.NoError(t, err)
		require.Len(t, outs, 3)
		for i, name := range []string{"email", "notification", "warehouse"} {
			require.Equal(t, name, pipeline.OutputOf(outs[i]))
			require.Equal(t, name, outs[i].Metadata.Get(pipeline.MetaEvent))
			require.Equal(t, "c-1", outs[i].Metadata.Get(pipeline.MetaCorrelationID))
			require.Empty(t, outs[i].UUID, "the engine gives the id")
		}
		outs[0].Metadata.Set("seen", "yes")
		require.Empty(t, outs[1].Metadata.Get("seen"), "metadata is not shared")
		require.Empty(t, msg.Metadata.Get(pipeline.MetaEvent), "the input stays as it was")
	})
	t.Run("2-44 an unknown member stays in the bytes", func(t *testing.T) {
		t.Parallel()
		with := strings.Replace(f1, "{", "{ \"giftWrap\" : {\"z\":1.0,\"a\":\"\\u00e9\"},\t", 1)
		h := start(t, "", "email")
		outs := handle(t, h, with)
		require.Equal(t, with, outs[0])
		require.Contains(t, h.Log(), "Items: 2")
	})
	t.Run("a plain output gets the order and no event", func(t *testing.T) {
		t.Parallel()
		outs, err := start(t, "", "").Handle(handlertest.Message(f1))
		require.NoError(t, err)
		require.Len(t, outs, 1)
		require.Empty(t, pipeline.OutputOf(outs[0]))
		require.NotContains(t, outs[0].Metadata, pipeline.MetaEvent)
	})
	t.Run("without outputs there is only the log", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, handle(t, start(t, ""), f1))
	})
}

func TestProcess_NoJSON(t *testing.T) {
	t.Parallel()
	h := start(t, "", "email")
	outs, err := h.Handle(handlertest.Message(`order 1`))
	require.True(t, pipeline.IsPermanent(err))
	require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
	require.Empty(t, outs)
	require.Empty(t, h.LogAt(slog.LevelDebug))
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	_, err := handlertest.New(t, process.Kind(), handlertest.Params{With: "simulate_delay: -1s\nvalidate: {ids: no, total: maybe}"})
	require.ErrorContains(t, err, "/simulate_delay: must not be negative")
	require.ErrorContains(t, err, `/validate/total: "maybe" is not one of fail, warn, off`)
	var field *pipeline.FieldError
	require.ErrorAs(t, err, &field)

	c := process.NewConfig()
	require.Empty(t, c.Validate(), "the defaults are right")
}

func start(t *testing.T, with string, outputs ...string) *handlertest.Handler {
	t.Helper()
	return handlertest.Start(t, process.Kind(), handlertest.Params{With: with, Outputs: outputs})
}

// handle runs an order that must succeed and returns the outputs' payloads.
func handle(t *testing.T, h *handlertest.Handler, payload string) []string {
	t.Helper()
	outs, err := h.Handle(handlertest.Message(payload))
	require.NoError(t, err)
	payloads := make([]string, len(outs))
	for i, out := range outs {
		payloads[i] = string(out.Payload)
	}
	return payloads
}
