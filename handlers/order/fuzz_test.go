package order_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/order"
	"github.com/waybill-dev/waybill/pipeline"
)

// FuzzParse holds the reader to its promise: whatever the bytes are, it gives
// an order all of whose figures can be printed, or a permanent error.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{f1, f2, lines, `{}`, `[]`, `{"total":1E2000,"items":[{"qty":"2"}]}`, `{"id":"\ud800"}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		before := string(payload)
		o, err := order.Parse(payload)
		require.Equal(t, before, string(payload), "the payload is only read")
		if err != nil {
			require.True(t, pipeline.IsPermanent(err))
			return
		}
		for _, item := range o.Items {
			require.LessOrEqual(t, len(item.Amount().Money()), 5_000)
			require.NotEmpty(t, item.Label())
		}
		require.NotEmpty(t, o.Sum().Money())
	})
}
