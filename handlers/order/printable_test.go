package order_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/order"
)

func TestPrintable(t *testing.T) {
	t.Parallel()
	require.Equal(t, "₹ 1 – Ünïcode 📦", order.Printable("₹ 1 – Ünïcode 📦"))
	require.Equal(t, "a b c  d e", order.Printable("a\nb\u2028c\r\nd\x00e"))
	require.Equal(t, strings.Repeat("ä", 500)+"…", order.Printable(strings.Repeat("ä", 501)))
}
