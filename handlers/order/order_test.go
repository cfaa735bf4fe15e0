package order_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/order"
	"github.com/waybill-dev/waybill/pipeline"
)

const (
	f1 = `{"orderId":"ORD-1702554000123","sessionId":"session-12345","userId":"657b1f2e9d3c4a5b6c7d8e9f",
		"items":[{"sku":"CLOUD-01","name":"Cloud Hoodie","price":1999,"quantity":1},
		         {"sku":"SHIPPING","name":"Shipping Cost","price":501,"quantity":1}],
		"total":2500.00,"timestamp":"2023-12-14T11:40:00.123Z","paymentId":"pay_N1"}`
	f2 = `{"orderid":"0a7b5c1e-52b3-4f0e-9d0a-0d7d0f1f8f11","user":"session-12345",
		"cart":{"total":2960.10,"items":[{"sku":"CLOUD-01","name":"Cloud Hoodie","qty":1,"price":1999,"subtotal":1999},
		                                 {"sku":"SHIPPING","name":"Shipping Cost","qty":1,"price":961.10,"subtotal":961.10}]}}`
	lines = `{"id":77,"user_id":"u-1","order_lines":[{"sku":"FRAME-1","quantity":1.5},{"sku":"LENS-9","qty":2,"price":"10.05"}]}`
)

func TestParse_Shapes(t *testing.T) {
	t.Parallel()

	t.Run("X13 the shop's own shape", func(t *testing.T) {
		t.Parallel()
		o := parse(t, f1)
		require.Equal(t, order.ShapeItems, o.Shape)
		require.Equal(t, "ORD-1702554000123", o.ID)
		require.Equal(t, "657b1f2e9d3c4a5b6c7d8e9f", o.User)
		require.Equal(t, "session-12345", o.Session)
		require.Equal(t, "pay_N1", o.Payment)
		require.Equal(t, "2023-12-14T11:40:00.123Z", o.Timestamp)
		require.Equal(t, "2500.00", o.Total.String())
		require.Len(t, o.Items, 2)
		require.Equal(t, "Cloud Hoodie", o.Items[0].Label())
		require.Equal(t, "1999.00", o.Items[0].Amount().Money())
		require.True(t, o.Sum().Equal(o.Total))
	})
	t.Run("2-W10 the two documented formats, which have no version, give one view", func(t *testing.T) {
		t.Parallel()
		for _, text := range []string{f1, f2} {
			o := parse(t, text)
			require.NotEmpty(t, o.ID)
			require.NotEmpty(t, o.User)
			require.Equal(t, []string{"CLOUD-01", "SHIPPING"}, []string{o.Items[0].SKU, o.Items[1].SKU})
			require.Equal(t, "1999.00", o.Items[0].Amount().Money())
			require.True(t, o.Sum().Equal(o.Total))
		}
	})
	t.Run("X13 the shape with a cart", func(t *testing.T) {
		t.Parallel()
		o := parse(t, f2)
		require.Equal(t, order.ShapeCart, o.Shape)
		require.Equal(t, "0a7b5c1e-52b3-4f0e-9d0a-0d7d0f1f8f11", o.ID)
		require.Equal(t, "session-12345", o.User)
		require.Equal(t, "2960.10", o.Total.String())
		require.Equal(t, "SHIPPING", o.Items[1].SKU)
		require.True(t, o.Sum().Equal(o.Total))
	})
	t.Run("X13 the shape with order_lines", func(t *testing.T) {
		t.Parallel()
		o := parse(t, lines)
		require.Equal(t, order.ShapeLines, o.Shape)
		require.Equal(t, "77", o.ID, "a number serves as an id")
		require.Equal(t, "FRAME-1", o.Items[0].Label(), "no name: the SKU")
		require.False(t, o.Items[0].Quantity.Integer())
		require.True(t, o.Items[0].Amount().Missing())
		require.Equal(t, "20.10", o.Items[1].Amount().Money(), "money in a string is a number too")
		require.True(t, o.Total.Missing())
		require.True(t, o.Sum().Missing(), "one item has no price")
	})
	t.Run("an order that fits two shapes is read as the first", func(t *testing.T) {
		t.Parallel()
		o := parse(t, `{"items":[{"sku":"a"},{"sku":"b"}],"order_lines":[{"sku":"c"}]}`)
		require.Equal(t, order.ShapeItems, o.Shape)
		require.Len(t, o.Items, 2)
	})
}

func TestParse_Tolerant(t *testing.T) {
	t.Parallel()

	t.Run("2-44 an unknown member is ignored", func(t *testing.T) {
		t.Parallel()
		with := strings.Replace(f1, `{"orderId"`, `{"giftWrap":{"paper":[1,2,{"deep":null}]},"orderId"`, 1)
		require.Equal(t, parse(t, f1), parse(t, with))
	})
	t.Run("names are told apart by case", func(t *testing.T) {
		t.Parallel()
		require.Empty(t, parse(t, `{"ORDERID":"x","Items":[{}]}`).ID)
		require.Empty(t, parse(t, `{"ORDERID":"x","Items":[{}]}`).Items)
	})
	t.Run("a member of another type counts as missing", func(t *testing.T) {
		t.Parallel()
		o := parse(t, `{"orderId":{},"userId":null,"items":{"sku":"a"},"total":[],"cart":7,"timestamp":5}`)
		require.Empty(t, o.ID)
		require.Equal(t, []string{"orderId", "userId"}, o.Blank)
		require.Equal(t, order.ShapeNone, o.Shape)
		require.True(t, o.Total.Missing())
		require.True(t, o.Total.Given())
	})
	t.Run("an item that is no object has nothing", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, []order.Item{{}, {}}, parse(t, `{"items":["a",3]}`).Items)
	})
	t.Run("half a surrogate pair in an escape is legal JSON", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, "1", parse(t, `{"id":"1","note":"\ud800"}`).ID)
	})
}

func TestParse_Refuses(t *testing.T) {
	t.Parallel()
	for name, payload := range map[string]string{
		"nothing":         ``,
		"text":            `order 1`,
		"an array":        `[{"id":"1"}]`,
		"null":            `null`,
		"cut short":       `{"id":"1"`,
		"trailing text":   `{"id":"1"}{}`,
		"a BOM":           "\uFEFF{}",
		"NaN":             `{"total":NaN}`,
		"a member twice":  `{"id":"1","id":"2"}`,
		"invalid UTF-8":   "{\"id\":\"\xff\"}",
		"a twin, inside":  `{"items":[{"sku":"a","sku":"b"}]}`,
		"endless nesting": strings.Repeat(`{"a":`, 20_000),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := order.Parse([]byte(payload))
			require.Error(t, err)
			require.True(t, pipeline.IsPermanent(err))
			require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
		})
	}
}

func parse(t *testing.T, payload string) *order.Order {
	t.Helper()
	o, err := order.Parse([]byte(payload))
	require.NoError(t, err)
	return o
}
