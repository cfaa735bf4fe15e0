package order

import (
	"github.com/cockroachdb/apd/v3"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/handlers/rule"
)

// Number is an exact decimal as an order states it. The zero value is a
// missing one.
type Number struct {
	text  string // as it was written; "" if it is missing
	value *rule.Decimal
}

// newNumber reads a JSON number, or a JSON string that holds one, as careful
// producers write money. Anything else is unreadable: there, but no number.
func newNumber(value jsontext.Value) Number {
	if value == nil {
		return Number{}
	}
	n := Number{text: value.String()}
	digits := n.text
	if value.Kind() == '"' {
		digits = asText(value)
	}
	if d, err := rule.ParseDecimal(digits); err == nil {
		n.value = calculable(d)
	}
	return n
}

// calculable returns d, or nil if it is beyond the limits of arithmetic, as
// 1E4000000 is.
func calculable(d rule.Decimal) *rule.Decimal {
	if _, err := d.Cmp(rule.Decimal{}); err != nil {
		return nil
	}
	return &d
}

// Missing reports that there is no number to calculate with: the order has
// none, or what it has is not a number.
func (n Number) Missing() bool { return n.value == nil }

// Given reports whether the order has the member at all.
func (n Number) Given() bool { return n.text != "" }

// String returns the number as the order states it, or "".
func (n Number) String() string { return n.text }

// Money returns the number with exactly two decimals, rounded half up where
// it has more, or "?" if it is missing.
func (n Number) Money() string {
	if n.Missing() {
		return "?"
	}
	cents, err := n.value.Round(2, apd.RoundHalfUp)
	if err != nil {
		return "?"
	}
	return cents.String()
}

// Integer reports whether the number has no fraction: 2, 2.0 and 2e0 have none.
func (n Number) Integer() bool {
	if n.Missing() {
		return false
	}
	whole, err := n.value.Round(0, apd.RoundDown)
	return err == nil && n.compare(whole) == 0
}

// Sign returns -1, 0 or 1 as the number is below, equal to or above zero, and
// 0 for a missing one.
func (n Number) Sign() int {
	if n.Missing() {
		return 0
	}
	return n.compare(rule.Decimal{})
}

// Equal reports whether both are there and have the same value: 2500 equals
// 2500.00.
func (n Number) Equal(other Number) bool {
	return !n.Missing() && !other.Missing() && n.compare(*other.value) == 0
}

// compare is for numbers that calculable has let pass, which always compare.
func (n Number) compare(other rule.Decimal) int {
	result, _ := n.value.Cmp(other)
	return result
}

// Plus returns the exact sum, missing if either is.
func (n Number) Plus(other Number) Number { return n.combine(other, rule.Decimal.Add) }

// Times returns the exact product, missing if either is.
func (n Number) Times(other Number) Number { return n.combine(other, rule.Decimal.Mul) }

type operation func(x, y rule.Decimal) (rule.Decimal, error)

func (n Number) combine(other Number, do operation) Number {
	if n.Missing() || other.Missing() {
		return Number{}
	}
	result, err := do(*n.value, *other.value)
	if err != nil {
		return Number{}
	}
	return Number{text: result.String(), value: &result}
}
