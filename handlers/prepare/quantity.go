package prepare

import (
	"math"
	"strings"
)

// count is what a quantity says about splitting its line.
type count struct {
	sort  countSort
	units int64 // of a whole count; math.MaxInt64 also stands for all above
}

type countSort int

const (
	noCount    countSort = iota // there is no quantity
	wholeCount                  // a positive integer: 2, 2.0, 2e0
	fraction                    // positive, but no integer
	badCount                    // zero, negative, or no number at all
)

// parseCount reads a quantity, a valid JSON value, as an exact decimal. It
// never builds the number: 1e1000000000 costs as little as 1.
func parseCount(raw string) count {
	if raw[0] < '0' || raw[0] > '9' {
		return count{sort: badCount}
	}
	if len(raw) == 1 && raw[0] != '0' { // as most are
		return count{sort: wholeCount, units: int64(raw[0] - '0')}
	}
	digits, exponent := splitNumber(raw)
	digits = strings.TrimLeft(digits, "0")
	if digits == "" {
		return count{sort: badCount}
	}
	trimmed := strings.TrimRight(digits, "0")
	exponent += int64(len(digits) - len(trimmed))
	if exponent < 0 {
		return count{sort: fraction}
	}
	return count{sort: wholeCount, units: units(trimmed, exponent)}
}

// splitNumber returns the digits of a number without its point, and the power
// of ten that they are to be multiplied with.
func splitNumber(raw string) (digits string, exponent int64) {
	mantissa := raw
	if e := strings.IndexAny(raw, "eE"); e >= 0 {
		mantissa, exponent = raw[:e], parseExponent(raw[e+1:])
	}
	whole, decimals, _ := strings.Cut(mantissa, ".")
	return whole + decimals, exponent - int64(len(decimals))
}

// parseExponent stops at ±10^15, which is as good as endless.
func parseExponent(text string) int64 {
	sign := int64(1)
	if text[0] == '-' {
		sign = -1
	}
	var n int64
	for _, digit := range strings.TrimLeft(text, "+-") {
		if n = n*10 + int64(digit-'0'); n > 1e15 {
			return sign * 1e15
		}
	}
	return sign * n
}

// units returns digits × 10^exponent, or math.MaxInt64 if that is more.
func units(digits string, exponent int64) int64 {
	if int64(len(digits))+exponent > 18 {
		return math.MaxInt64
	}
	var n int64
	for _, digit := range digits {
		n = n*10 + int64(digit-'0')
	}
	for range exponent {
		n *= 10
	}
	return n
}
