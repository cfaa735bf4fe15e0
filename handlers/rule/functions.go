package rule

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/cockroachdb/apd/v3"
	"github.com/expr-lang/expr"
)

// functions declares all that an expression can call beyond the builtins in
// allowed: what the rewriter puts in place of operators, and what people
// write. Each has a Go type, from which expr checks the arguments' number.
var functions = []expr.Option{
	binary("==", equal),
	binary("!=", func(a, b any) (bool, error) { same, err := equal(a, b); return !same, err }),
	binary("<", func(a, b any) (bool, error) { order, err := compare(a, b); return order < 0, err }),
	binary("<=", func(a, b any) (bool, error) { order, err := compare(a, b); return order <= 0, err }),
	binary(">", func(a, b any) (bool, error) { order, err := compare(a, b); return order > 0, err }),
	binary(">=", func(a, b any) (bool, error) { order, err := compare(a, b); return order >= 0, err }),
	binary("in", contains),
	binary("+", add),
	binary("-", func(a, b any) (any, error) { return calculate("subtract", Decimal.Sub, a, b) }),
	binary("*", func(a, b any) (any, error) { return calculate("multiply", Decimal.Mul, a, b) }),
	binary("/", func(a, b any) (any, error) { return calculate("divide", Decimal.Quo, a, b) }),
	binary("%", func(a, b any) (any, error) { return calculate("divide", Decimal.Rem, a, b) }),
	binary(" get", get),
	binary("get", get),
	binary("take", take),
	unary(" truth", truth),
	unary(" text", text),
	unary(" index", index),
	unary(" plain", plain),
	unary(" sum", sum),
	expr.Function(stepsName[:1]+"tick", tick, new(func(any, any) any)),

	unary("abs", func(v any) (any, error) {
		num, err := decimal(v)
		if strings.HasPrefix(num.text, "-") {
			return Decimal{}.Sub(num)
		}
		return num, err
	}),
	unary("floor", func(v any) (any, error) { return rounded(v, 0, apd.RoundFloor) }),
	unary("ceil", func(v any) (any, error) { return rounded(v, 0, apd.RoundCeiling) }),
	unary("int", func(v any) (any, error) { return rounded(v, 0, apd.RoundDown) }),
	unary("decimal", func(v any) (any, error) { return decimal(v) }),
	expr.Function("round", round, new(func(any) any), new(func(any, any) any)),
	expr.Function("min", func(args ...any) (any, error) { return extreme(args, -1) }, new(func(...any) any)),
	expr.Function("max", func(args ...any) (any, error) { return extreme(args, 1) }, new(func(...any) any)),

	unary("type", func(v any) (any, error) { v, err := plain(v); return typeName(v), err }),
	unary("string", toText),
	unary("len", length),
	unary("keys", keys),
	unary("values", values),
	unary("toJSON", toJSON),
	unary("fromJSON", fromJSON),
	expr.Function("sort", sorted, new(func(any) any), new(func(any, string) any)),
	expr.Function("join", join, new(func(any) any), new(func(any, string) any)),
	expr.Function("replace", replace, new(func(any, any, any) any)),
}

// results names what functions give that can never be a condition. To expr
// all of them give anything: it would refuse them by Go's types, not ours.
var results = map[string]string{
	"-": "number", "*": "number", "/": "number", "%": "number", " sum": "number", "len": "number",
	"abs": "number", "floor": "number", "ceil": "number", "int": "number", "decimal": "number", "round": "number",
	"+": "number or string", "type": "string", "string": "string", "toJSON": "string", "join": "string", "replace": "string",
	"keys": "array", "values": "array", "sort": "array", "take": "array",
}

func unary[T any](name string, f func(any) (T, error)) expr.Option {
	return expr.Function(name, func(args ...any) (any, error) { return f(args[0]) }, new(func(any) any))
}

func binary[T any](name string, f func(a, b any) (T, error)) expr.Option {
	return expr.Function(name, func(args ...any) (any, error) { return f(args[0], args[1]) }, new(func(any, any) any))
}

// elements returns v as a list or says that it is none.
func elements(v any) ([]any, error) {
	v, err := plain(v)
	if err != nil {
		return nil, err
	}
	if all, ok := list(v); ok {
		return all, nil
	}
	return nil, fmt.Errorf("expected a list, got %s", describe(v))
}

// object returns v as a map or says that it is none.
func object(v any) (map[string]any, error) {
	v, err := plain(v)
	if err != nil {
		return nil, err
	}
	if members, ok := v.(map[string]any); ok {
		return members, nil
	}
	return nil, fmt.Errorf("expected an object, got %s", describe(v))
}

// decimal returns v, or the number that stands in text, as a Decimal.
func decimal(v any) (Decimal, error) {
	v, err := plain(v)
	if err != nil {
		return Decimal{}, err
	}
	if s, ok := v.(string); ok {
		return ParseDecimal(s)
	}
	if num, ok := number(v); ok {
		return num, nil
	}
	return Decimal{}, fmt.Errorf("expected a number, got %s", describe(v))
}

func rounded(v any, places int, how apd.Rounder) (any, error) {
	num, err := decimal(v)
	if err != nil {
		return nil, err
	}
	return num.Round(int32(places), how) //nolint:gosec // index bounds places
}

func round(args ...any) (any, error) {
	places := 0
	if len(args) == 2 {
		var err error
		if places, err = index(args[1]); err != nil {
			return nil, err
		}
	}
	return rounded(args[0], places, apd.RoundHalfUp)
}

func sum(v any) (any, error) {
	all, err := elements(v)
	total := any(Decimal{})
	for _, element := range all {
		if total, err = calculate("add", Decimal.Add, total, element); err != nil {
			break
		}
	}
	return total, err
}

// extreme returns the least (sign -1) or greatest (sign 1) of the arguments,
// or of the one list that they are.
func extreme(args []any, sign int) (any, error) {
	if len(args) == 1 {
		if all, err := elements(args[0]); err == nil {
			args = all
		}
	}
	if len(args) == 0 {
		return nil, nil
	}
	best := args[0]
	for _, candidate := range args {
		order, err := compare(candidate, best)
		if err != nil {
			return nil, err
		}
		if order == sign {
			best = candidate
		}
	}
	return best, nil
}

func take(v, n any) (any, error) {
	all, err := elements(v)
	if err != nil {
		return nil, err
	}
	count, err := index(n)
	return all[:max(0, min(count, len(all)))], err
}

// length counts elements, members, or the characters of text.
func length(v any) (any, error) {
	v, err := plain(v)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case string:
		return utf8.RuneCountInString(v), nil
	case map[string]any:
		return len(v), nil
	}
	if all, ok := list(v); ok {
		return len(all), nil
	}
	return nil, fmt.Errorf("%s has no length", describe(v))
}

func keys(v any) (any, error) {
	members, err := object(v)
	return widen(slices.Sorted(maps.Keys(members))), err
}

// values lists the members' values in the order of their names.
func values(v any) (any, error) {
	members, err := object(v)
	all := make([]any, 0, len(members))
	for _, name := range slices.Sorted(maps.Keys(members)) {
		all = append(all, members[name])
	}
	return all, err
}

func sorted(args ...any) (any, error) {
	all, err := elements(args[0])
	if err != nil {
		return nil, err
	}
	sign := 1
	if len(args) == 2 {
		switch args[1] {
		case "asc":
		case "desc":
			sign = -1
		default:
			return nil, errors.New(`the order is "asc" or "desc"`)
		}
	}
	out := slices.Clone(all)
	slices.SortStableFunc(out, func(a, b any) int {
		order, wrong := compare(a, b)
		if wrong != nil {
			err = wrong
		}
		return sign * order
	})
	return out, err
}
