package order_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/handlers/order"
)

func TestNumber_Money(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		`2500`:                    "2500.00",
		`2500.00`:                 "2500.00",
		`2960.1`:                  "2960.10",
		`0.1`:                     "0.10",
		`1e3`:                     "1000.00",
		`25E-1`:                   "2.50",
		`1.005`:                   "1.01", // a float would say 1.00
		`0.004`:                   "0.00",
		`-1.5`:                    "-1.50",
		`9007199254740993.01`:     "9007199254740993.01", // beyond a float
		`"19.99"`:                 "19.99",
		`"1e400000000"`:           "?",
		`1E4000`:                  "?",
		`"12 "`:                   "?",
		`"0x10"`:                  "?",
		`"Infinity"`:              "?",
		`true`:                    "?",
		`null`:                    "?",
		strings.Repeat("9", 3000): "?",
	} {
		t.Run("2-45 "+text, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, want, total(t, text).Money())
		})
	}
}

func TestNumber_Questions(t *testing.T) {
	t.Parallel()
	for _, integer := range []string{`2`, `2.0`, `2e0`, `-3`, `0`, `1e20`} {
		require.True(t, total(t, integer).Integer(), integer)
	}
	for _, fraction := range []string{`1.5`, `25e-1`, `"x"`, `null`} {
		require.False(t, total(t, fraction).Integer(), fraction)
	}
	require.True(t, total(t, `2500`).Equal(total(t, `2500.00`)))
	require.False(t, total(t, `null`).Equal(total(t, `null`)), "nothing equals nothing")
	require.Equal(t, -1, total(t, `-0.01`).Sign())
	require.Zero(t, total(t, `"x"`).Sign())
	require.Equal(t, `"x"`, total(t, `"x"`).String())
}

// The sum of an order is exact whatever its amounts are: it equals the sum
// that integers of cents give.
func TestOrder_SumIsExact(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var items []string
		sum := new(big.Int)
		for range rapid.IntRange(1, 20).Draw(t, "items") {
			cents := rapid.Int64Range(0, 1e15).Draw(t, "cents")
			quantity := rapid.Int64Range(1, 1e6).Draw(t, "quantity")
			items = append(items, fmt.Sprintf(`{"price":%d.%02d,"quantity":%d}`, cents/100, cents%100, quantity))
			sum.Add(sum, new(big.Int).Mul(big.NewInt(cents), big.NewInt(quantity)))
		}
		o, err := order.Parse([]byte(`{"items":[` + strings.Join(items, ",") + `]}`))
		require.NoError(t, err)
		whole, cents := new(big.Int).DivMod(sum, big.NewInt(100), new(big.Int))
		require.Equal(t, fmt.Sprintf("%d.%02d", whole, cents), o.Sum().Money())
	})
}

func total(t *testing.T, number string) order.Number {
	t.Helper()
	return parse(t, `{"total":`+number+`}`).Total
}
