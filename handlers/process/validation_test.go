package process_test

import (
	"log/slog"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/handlertest"
	"github.com/waybill-dev/waybill/pipeline"
)

// broken are orders that break one rule each.
var broken = []struct {
	name, rule string
	old, new   string // what to change in f1
	want       string // in the error
}{
	{"an order id that is blank", "ids", `"ORD-1702554000123"`, `""`, "orderId is blank"},
	{"no order id", "ids", `"orderId":"ORD-1702554000123",`, ``, "the order has no id"},
	{"no user", "ids", `"userId":"657b1f2e9d3c4a5b6c7d8e9f",`, ``, "the order has no user"},
	{"a payment id that is blank", "ids", `"pay_N1"`, `""`, "paymentId is blank"},
	{"no items", "items", `"items":[`, `"items":[],"other":[`, "no items"},
	{"quantity 0", "quantity", `"quantity":1}]`, `"quantity":0}]`, "quantity of item 2 is 0, not a whole number of 1 or more"},
	{"a negative quantity", "quantity", `"quantity":1}]`, `"quantity":-1}]`, "quantity of item 2 is -1"},
	{"a fraction", "quantity", `"quantity":1}]`, `"quantity":1.5}]`, "quantity of item 2 is 1.5"},
	{"no quantity", "quantity", `"price":501,"quantity":1}]`, `"price":501}]`, "quantity of item 2 is missing"},
	{"a negative price", "price", `"price":501`, `"price":-501`, "price of item 2 is -501, not a number of 0 or more"},
	{"no price", "price", `"price":501,`, ``, "price of item 2 is missing"},
	{"a price that is none", "price", `"price":501`, `"price":"free"`, `price of item 2 is "free"`},
	{"a total off by a cent", "total", `2500.00`, `2500.01`, "total is 2500.01, but the items sum up to 2500"},
	{"no total", "total", `"total":2500.00,`, ``, "total is missing"},
	{"a total that is none", "total", `2500.00`, `true`, "total is true, not a number"},
	{"a timestamp of another kind", "timestamp", `"2023-12-14T11:40:00.123Z"`, `"14.12.2023"`, `timestamp "14.12.2023" is not RFC 3339`},
}

func TestValidation(t *testing.T) {
	t.Parallel()
	for _, tc := range broken {
		payload := strings.Replace(f1, tc.old, tc.new, 1)
		only := func(severity string) string {
			all := "validate: {ids: off, items: off, quantity: off, price: off, total: off, timestamp: off}"
			return strings.Replace(all, tc.rule+": off", tc.rule+": "+severity, 1)
		}

		t.Run("2-22 "+tc.name+" fails", func(t *testing.T) {
			t.Parallel()
			h := start(t, only("fail"), "email")
			outs, err := h.Handle(handlertest.Message(payload))
			require.ErrorContains(t, err, tc.want)
			require.True(t, pipeline.IsPermanent(err))
			require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
			require.Empty(t, outs)
			require.Empty(t, h.Log(), "it is not processed")
		})
		t.Run("2-22 "+tc.name+" warns", func(t *testing.T) {
			t.Parallel()
			h := start(t, only("warn"), "email")
			require.Equal(t, []string{payload}, handle(t, h, payload))
			warnings := h.LogAt(slog.LevelWarn)
			require.Len(t, warnings, 1)
			require.Contains(t, warnings[0], tc.want)
		})
		t.Run("2-22 "+tc.name+" is not looked at", func(t *testing.T) {
			t.Parallel()
			h := start(t, only("off"), "email")
			require.Equal(t, []string{payload}, handle(t, h, payload))
			require.Empty(t, h.LogAt(slog.LevelWarn))
		})
	}
}

func TestValidation_Defaults(t *testing.T) {
	t.Parallel()

	t.Run("2-22 the sums of the samples are right", func(t *testing.T) {
		t.Parallel()
		for _, payload := range []string{f1, f2, strings.Replace(f1, `"quantity":1}]`, `"quantity":0.1e1}]`, 1)} {
			h := start(t, "validate: {total: fail}")
			handle(t, h, payload)
			require.Empty(t, h.LogAt(slog.LevelWarn))
		}
	})
	t.Run("2-22 by default a wrong total warns and all else fails", func(t *testing.T) {
		t.Parallel()
		for _, tc := range broken {
			h := start(t, "")
			_, err := h.Handle(handlertest.Message(strings.Replace(f1, tc.old, tc.new, 1)))
			if tc.rule == "total" {
				require.NoError(t, err, tc.name)
				require.Len(t, h.LogAt(slog.LevelWarn), 1)
			} else {
				require.ErrorContains(t, err, tc.want, tc.name)
			}
		}
	})
	t.Run("2-22 order_lines need no user, price or total", func(t *testing.T) {
		t.Parallel()
		h := start(t, "validate: {total: fail}")
		handle(t, h, lines)
		handle(t, h, `{"id":"1","order_lines":[{"sku":"a"}]}`)
		for _, line := range []string{`{"quantity":0}`, `{"quantity":"2 kg"}`, `{"price":-1}`} {
			_, err := h.Handle(handlertest.Message(`{"id":"1","order_lines":[` + line + `]}`))
			require.True(t, pipeline.IsPermanent(err), line)
		}
	})
	t.Run("2-22 one error names all that is wrong, within limits", func(t *testing.T) {
		t.Parallel()
		item := strings.Repeat(`,{"price":-1,"quantity":0}`, 1_000)
		_, err := start(t, "").Handle(handlertest.Message(`{"items":[{}` + item + `]}`))
		for _, want := range []string{
			"no id", "no user", "quantity of item 1 is missing", "price of item 3 is -1", "and 998 more",
		} {
			require.ErrorContains(t, err, want)
		}
		require.Less(t, len(err.Error()), 2_000)
	})
}
