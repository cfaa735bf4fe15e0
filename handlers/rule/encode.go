package rule

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/go-json-experiment/json/jsontext"
)

// maxEncoded bounds what Encode writes: a small program can make a value
// that holds itself many times over.
const maxEncoded = 16 << 20

// Encode returns v as JSON, the same bytes for the same value: members in the
// order of their names, no spaces, numbers as their own text, and parts of a
// Lazy document byte for byte as they stand there. It refuses what is not
// JSON, text that is not UTF-8, more than MaxDepth levels and 16 MiB.
func Encode(v any) ([]byte, error) {
	dst, err := appendValue(nil, v, 0)
	if err != nil {
		return nil, fmt.Errorf("encode JSON: %w", err)
	}
	return dst, nil
}

func appendValue(dst []byte, v any, depth int) ([]byte, error) {
	if depth > MaxDepth {
		return nil, fmt.Errorf("more than %d levels deep", MaxDepth)
	}
	if len(dst) > maxEncoded {
		return nil, errors.New("more than 16 MiB")
	}
	switch v := v.(type) {
	case nil:
		return append(dst, "null"...), nil
	case bool:
		return fmt.Append(dst, v), nil
	case string:
		return jsontext.AppendQuote(dst, v)
	case *Lazy:
		return append(dst, v.doc...), nil
	case map[string]any:
		return appendObject(dst, v, depth+1)
	}
	if n, ok := number(v); ok {
		return append(dst, n.String()...), nil
	}
	if elements, ok := list(v); ok {
		return appendArray(dst, elements, depth+1)
	}
	return nil, fmt.Errorf("%T is not JSON", v)
}

func appendObject(dst []byte, object map[string]any, depth int) ([]byte, error) {
	dst = append(dst, '{')
	for i, name := range slices.Sorted(maps.Keys(object)) {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = jsontext.AppendQuote(dst, name); err != nil {
			return nil, err
		}
		if dst, err = appendValue(append(dst, ':'), object[name], depth); err != nil {
			return nil, err
		}
	}
	return append(dst, '}'), nil
}

func appendArray(dst []byte, elements []any, depth int) ([]byte, error) {
	dst = append(dst, '[')
	for i, element := range elements {
		if i > 0 {
			dst = append(dst, ',')
		}
		var err error
		if dst, err = appendValue(dst, element, depth); err != nil {
			return nil, err
		}
	}
	return append(dst, ']'), nil
}
