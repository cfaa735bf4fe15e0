package rule

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// maxText bounds the text that one operator or function makes.
const maxText = 1 << 20

var errLongText = errors.New("text of more than 1 MiB")

// get returns the member or element of base that key names; nil if there is
// none, or if base is nil.
func get(base, key any) (any, error) {
	key, err := plain(key)
	if err != nil {
		return nil, err
	}
	name, named := key.(string)
	if l, ok := base.(*Lazy); ok {
		if named && l.isObject() {
			return l.get(name)
		}
		if base, err = l.Tree(); err != nil {
			return nil, err
		}
	}
	if base == nil {
		return nil, nil
	}
	if object, ok := base.(map[string]any); ok && named {
		return object[name], nil
	}
	elements, isList := list(base)
	if num, ok := number(key); ok && isList {
		return element(elements, num), nil
	}
	return nil, fmt.Errorf("cannot get %s of %s", describe(key), typeName(base))
}

// element returns the element at the index, which counts from the end if it
// is negative; nil beyond the ends.
func element(elements []any, at Decimal) any {
	i, ok := at.Int64()
	if i < 0 {
		i += int64(len(elements))
	}
	if !ok || i < 0 || i >= int64(len(elements)) {
		return nil
	}
	return elements[i]
}

// list returns v as a slice, if it is one of the lists of expressions.
func list(v any) ([]any, bool) {
	switch v := v.(type) {
	case []any:
		return v, true
	case []string:
		return widen(v), true
	case []int:
		return widen(v), true
	}
	return nil, false
}

func widen[T any](in []T) []any {
	out := make([]any, len(in))
	for i, v := range in {
		out[i] = v
	}
	return out
}

// truth returns v as a condition's value.
func truth(v any) (bool, error) {
	v, err := plain(v)
	if err != nil {
		return false, err
	}
	yes, ok := v.(bool)
	if !ok {
		return false, fmt.Errorf("a condition must be true or false, not %s", describe(v))
	}
	return yes, nil
}

// text lets text and nil through.
func text(v any) (any, error) {
	v, err := plain(v)
	if err != nil {
		return nil, err
	}
	switch v.(type) {
	case nil, string:
		return v, nil
	}
	return nil, fmt.Errorf("expected text, got %s", describe(v))
}

// index returns v as an int.
func index(v any) (int, error) {
	v, err := plain(v)
	if err != nil {
		return 0, err
	}
	if num, ok := number(v); ok {
		if n, ok := num.Int64(); ok && n >= math.MinInt32 && n <= math.MaxInt32 {
			return int(n), nil
		}
	}
	return 0, fmt.Errorf("expected an index, got %s", describe(v))
}

// compare orders two numbers, or two texts by their bytes.
func compare(a, b any) (int, error) {
	a, b, err := plainBoth(a, b)
	if err != nil {
		return 0, err
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			return strings.Compare(x, y), nil
		}
	}
	x, xOK := number(a)
	y, yOK := number(b)
	if !xOK || !yOK {
		return 0, fmt.Errorf("cannot compare %s with %s", describe(a), describe(b))
	}
	return x.Cmp(y)
}

// contains is the operator in: an element of a list, a member of an object.
// Nothing is in nil.
func contains(needle, in any) (bool, error) {
	in, err := plain(in)
	if err != nil || in == nil {
		return false, err
	}
	if object, ok := in.(map[string]any); ok {
		name, err := text(needle)
		if name, ok := name.(string); ok {
			_, found := object[name]
			return found, nil
		}
		return false, err
	}
	elements, ok := list(in)
	if !ok {
		return false, fmt.Errorf("cannot look for anything in %s", describe(in))
	}
	budget := maxSteps
	for _, element := range elements {
		if same, err := equalWithin(needle, element, &budget); same || err != nil {
			return same, err
		}
	}
	return false, nil
}

// add is the operator +: numbers, or text put together.
func add(a, b any) (any, error) {
	a, b, err := plainBoth(a, b)
	if err != nil {
		return nil, err
	}
	if x, ok := a.(string); ok {
		if y, ok := b.(string); ok {
			if len(x)+len(y) > maxText {
				return nil, errLongText
			}
			return x + y, nil
		}
	}
	return calculate("add", Decimal.Add, a, b)
}

// calculate applies an operation on numbers; verb names it in the error.
func calculate(verb string, op func(x, y Decimal) (Decimal, error), a, b any) (any, error) {
	a, b, err := plainBoth(a, b)
	if err != nil {
		return nil, err
	}
	x, xOK := number(a)
	y, yOK := number(b)
	if !xOK || !yOK {
		return nil, fmt.Errorf("cannot %s %s and %s", verb, describe(a), describe(b))
	}
	return op(x, y)
}

func plainBoth(a, b any) (x, y any, err error) {
	if x, err = plain(a); err != nil {
		return nil, nil, err
	}
	y, err = plain(b)
	return x, y, err
}

// typeName returns JSON's name for the type of v.
func typeName(v any) string {
	switch v.(type) {
	case nil:
		return "nil"
	case bool:
		return "bool"
	case string:
		return "string"
	case map[string]any:
		return "map"
	}
	if _, ok := number(v); ok {
		return "number"
	}
	if _, ok := list(v); ok {
		return "array"
	}
	return fmt.Sprintf("%T", v)
}

// describe names a value in an error: scalars as they are, else their type.
func describe(v any) string {
	switch v := v.(type) {
	case string:
		return fmt.Sprintf("%q", shorten(v))
	case bool:
		return fmt.Sprint(v)
	}
	if num, ok := number(v); ok {
		return shorten(num.String())
	}
	return typeName(v)
}
