package rule

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/cockroachdb/apd/v3"
)

// Limits of arithmetic. Numbers beyond them can be read, copied and written,
// but not calculated with.
const (
	maxDigits     = 1000
	maxExponent   = 2000
	quotientDigit = 34 // as IEEE 754 decimal128 has them
)

var (
	errNotNumber    = errors.New("not a number")
	errZeroDivision = errors.New("division by zero")
	errRange        = fmt.Errorf("number is out of range: at most %d digits and an exponent of ±%d", maxDigits, maxExponent)
)

// exact refuses every result that it would have to round.
var exact = apd.Context{
	Precision:   maxDigits,
	MaxExponent: maxExponent,
	MinExponent: -maxExponent,
	Rounding:    apd.RoundHalfUp,
	Traps:       apd.DefaultTraps | apd.Inexact,
}

// quotient rounds to quotientDigit digits.
var quotient = apd.Context{
	Precision:   quotientDigit,
	MaxExponent: maxExponent,
	MinExponent: -maxExponent,
	Rounding:    apd.RoundHalfEven,
	Traps:       apd.DefaultTraps,
}

// Decimal is an exact decimal number. It keeps the text that it was read
// from, so that 2960.10 is written back as 2960.10. The zero Decimal is 0.
// Compare with Cmp: 2 and 2.0 are the same number in different text.
type Decimal struct {
	text string
	num  *apd.Decimal // nil: not parsed yet; never changed once set
}

// ParseDecimal returns the number that text is in JSON's notation.
func ParseDecimal(text string) (Decimal, error) {
	if !isNumber(text) {
		return Decimal{}, fmt.Errorf("%q: %w", shorten(text), errNotNumber)
	}
	return Decimal{text: text}, nil
}

// NewDecimal returns n as a Decimal.
func NewDecimal(n int64) Decimal { return Decimal{text: strconv.FormatInt(n, 10)} }

// String returns the number's text: the original one, or for a result of
// arithmetic plain digits without an exponent.
func (d Decimal) String() string {
	if d.text == "" {
		return "0"
	}
	return d.text
}

// MarshalJSON writes the number's text.
func (d Decimal) MarshalJSON() ([]byte, error) { return []byte(d.String()), nil }

// Int64 returns the number if it is an integer that fits: 2, 2.0 and 2e0 are.
func (d Decimal) Int64() (n int64, ok bool) {
	if n, ok := d.small(); ok {
		return n, true
	}
	num, err := d.parse()
	if err != nil {
		return 0, false
	}
	n, err = num.Int64()
	return n, err == nil
}

// Cmp compares by value: -1, 0 or 1. The error says that a number is beyond
// the limits of arithmetic.
func (d Decimal) Cmp(other Decimal) (int, error) {
	a, aSmall := d.small()
	b, bSmall := other.small()
	if aSmall && bSmall {
		switch {
		case a < b:
			return -1, nil
		case a > b:
			return 1, nil
		}
		return 0, nil
	}
	x, y, err := parseBoth(d, other)
	if err != nil {
		return 0, err
	}
	return x.Cmp(y), nil
}

// Add returns the exact sum.
func (d Decimal) Add(other Decimal) (Decimal, error) { return d.calc(exact.Add, other) }

// Sub returns the exact difference.
func (d Decimal) Sub(other Decimal) (Decimal, error) { return d.calc(exact.Sub, other) }

// Mul returns the exact product.
func (d Decimal) Mul(other Decimal) (Decimal, error) { return d.calc(exact.Mul, other) }

// Rem returns the remainder of the division, with the sign of d.
func (d Decimal) Rem(other Decimal) (Decimal, error) {
	if other.isZero() {
		return Decimal{}, errZeroDivision
	}
	return d.calc(exact.Rem, other)
}

// Quo returns the quotient, rounded to 34 digits, half to even.
func (d Decimal) Quo(other Decimal) (Decimal, error) {
	if other.isZero() {
		return Decimal{}, errZeroDivision
	}
	return d.calc(func(z, x, y *apd.Decimal) (apd.Condition, error) {
		cond, err := quotient.Quo(z, x, y)
		z.Reduce(z)
		return cond, err
	}, other)
}

// QuoCut returns the quotient cut to the given count of decimal places,
// towards zero, from the exact value.
func (d Decimal) QuoCut(other Decimal, places int32) (Decimal, error) {
	if other.isZero() {
		return Decimal{}, errZeroDivision
	}
	return d.calc(func(z, x, y *apd.Decimal) (apd.Condition, error) {
		var shifted apd.Decimal
		shifted.Set(x)
		shifted.Exponent += places
		cond, err := exact.QuoInteger(z, &shifted, y)
		z.Exponent -= places
		return cond, err
	}, other)
}

// Places returns how many decimal places the number is written with: 2 for
// 10.00, 0 for 10 and 1e3. It is an error beyond the limits of arithmetic.
func (d Decimal) Places() (int32, error) {
	num, err := d.parse()
	if err != nil {
		return 0, err
	}
	return max(0, -num.Exponent), nil
}

// Round returns the number with the given count of decimal places, rounded
// by how: apd.RoundHalfUp (away from zero), RoundFloor, RoundCeiling, RoundDown.
func (d Decimal) Round(places int32, how apd.Rounder) (Decimal, error) {
	if places < 0 || places > maxDigits {
		return Decimal{}, fmt.Errorf("cannot round to %d places: 0 to %d", places, maxDigits)
	}
	num, err := d.parse()
	if err != nil {
		return Decimal{}, err
	}
	rounding := exact
	rounding.Rounding, rounding.Traps = how, apd.DefaultTraps
	rounding.Precision = 2 * (maxDigits + maxExponent)
	z := new(apd.Decimal)
	if _, err := rounding.Quantize(z, num, -places); err != nil {
		return Decimal{}, errRange
	}
	return result(z), nil
}

// calc applies an operation of apd.
func (d Decimal) calc(op func(z, x, y *apd.Decimal) (apd.Condition, error), other Decimal) (Decimal, error) {
	x, y, err := parseBoth(d, other)
	if err != nil {
		return Decimal{}, err
	}
	z := new(apd.Decimal)
	if _, err := op(z, x, y); err != nil {
		return Decimal{}, errRange
	}
	return result(z), nil
}

func result(z *apd.Decimal) Decimal {
	if z.IsZero() {
		z.Negative = false
	}
	return Decimal{text: z.Text('f'), num: z}
}

// small returns the number if its text is that of a short integer.
func (d Decimal) small() (int64, bool) {
	if len(d.text) > 18 {
		return 0, false
	}
	n, err := strconv.ParseInt(d.String(), 10, 64)
	return n, err == nil
}

func (d Decimal) isZero() bool {
	num, err := d.parse()
	return err == nil && num.IsZero()
}

func (d Decimal) parse() (*apd.Decimal, error) {
	if d.num != nil {
		return d.num, nil
	}
	if len(d.text) > 2*maxDigits {
		return nil, errRange
	}
	num := new(apd.Decimal)
	if _, _, err := num.SetString(d.String()); err != nil {
		return nil, errRange
	}
	if num.Exponent < -maxExponent || num.Exponent > maxExponent || num.NumDigits() > maxDigits {
		return nil, errRange
	}
	return num, nil
}

func parseBoth(a, b Decimal) (x, y *apd.Decimal, err error) {
	if x, err = a.parse(); err != nil {
		return nil, nil, err
	}
	y, err = b.parse()
	return x, y, err
}

// number returns v as a Decimal, if it is one of the numbers that expressions
// and Go callers come with.
func number(v any) (Decimal, bool) {
	switch n := v.(type) {
	case Decimal:
		return n, true
	case int:
		return NewDecimal(int64(n)), true
	case int64:
		return NewDecimal(n), true
	case float64:
		if math.IsNaN(n) || math.IsInf(n, 0) {
			return Decimal{}, false
		}
		return Decimal{text: strconv.FormatFloat(n, 'g', -1, 64)}, true
	}
	return Decimal{}, false
}

// isNumber reports whether text is a number as JSON writes it.
func isNumber(text string) bool {
	rest := strings.TrimPrefix(text, "-")
	whole := digits(rest)
	if whole == 0 || whole > 1 && rest[0] == '0' {
		return false
	}
	rest = rest[whole:]
	if strings.HasPrefix(rest, ".") {
		fraction := digits(rest[1:])
		if fraction == 0 {
			return false
		}
		rest = rest[1+fraction:]
	}
	if rest == "" || rest[0] != 'e' && rest[0] != 'E' {
		return rest == ""
	}
	if rest = rest[1:]; rest != "" && (rest[0] == '+' || rest[0] == '-') {
		rest = rest[1:]
	}
	return rest != "" && digits(rest) == len(rest)
}

// digits counts the digits that s starts with.
func digits(s string) int {
	return len(s) - len(strings.TrimLeft(s, "0123456789"))
}

// shorten cuts text that stands in an error.
func shorten(text string) string {
	if len(text) <= 40 {
		return text
	}
	return strings.ToValidUTF8(text[:40], "") + "…"
}
