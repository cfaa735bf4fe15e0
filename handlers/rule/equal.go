package rule

import "fmt"

// equal compares by value; what is of different types is not equal.
func equal(a, b any) (bool, error) {
	budget := maxSteps
	return equalWithin(a, b, &budget)
}

// equalWithin spends one of budget on each pair of values: a value can hold
// itself many times over.
func equalWithin(a, b any, budget *int) (bool, error) {
	if *budget--; *budget < 0 {
		return false, fmt.Errorf("more than %d steps to compare", maxSteps)
	}
	a, b, err := plainBoth(a, b)
	if err != nil {
		return false, err
	}
	switch x := a.(type) {
	case nil:
		return b == nil, nil
	case bool:
		y, ok := b.(bool)
		return ok && x == y, nil
	case string:
		y, ok := b.(string)
		return ok && x == y, nil
	case map[string]any:
		y, ok := b.(map[string]any)
		if !ok || len(x) != len(y) {
			return false, nil
		}
		return equalMembers(x, y, budget)
	}
	if x, ok := number(a); ok {
		y, ok := number(b)
		if !ok {
			return false, nil
		}
		return equalNumbers(x, y)
	}
	x, xList := list(a)
	y, yList := list(b)
	if !xList || !yList || len(x) != len(y) {
		return false, nil
	}
	return equalElements(x, y, budget)
}

func equalNumbers(x, y Decimal) (bool, error) {
	if x.text == y.text {
		return true, nil
	}
	order, err := x.Cmp(y)
	return order == 0, err
}

func equalMembers(x, y map[string]any, budget *int) (bool, error) {
	for name, value := range x {
		other, ok := y[name]
		if !ok {
			return false, nil
		}
		if same, err := equalWithin(value, other, budget); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}

func equalElements(x, y []any, budget *int) (bool, error) {
	for i := range x {
		if same, err := equalWithin(x[i], y[i], budget); !same || err != nil {
			return false, err
		}
	}
	return true, nil
}
