package rule

import (
	"fmt"
	"strings"
)

// toText returns a scalar as text; nil is "".
func toText(v any) (any, error) {
	v, err := plain(v)
	if err != nil {
		return nil, err
	}
	switch v := v.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case bool:
		return fmt.Sprint(v), nil
	}
	if num, ok := number(v); ok {
		return num.String(), nil
	}
	return nil, fmt.Errorf("cannot make text of %s, use toJSON", describe(v))
}

func toJSON(v any) (any, error) {
	out, err := Encode(v)
	if len(out) > maxText {
		return nil, errLongText
	}
	return string(out), err
}

func fromJSON(v any) (any, error) {
	s, err := text(v)
	if err != nil {
		return nil, err
	}
	doc, _ := s.(string)
	return Decode([]byte(doc))
}

func join(args ...any) (any, error) {
	all, err := elements(args[0])
	if err != nil {
		return nil, err
	}
	separator := ""
	if len(args) == 2 {
		separator, _ = args[1].(string)
	}
	var out strings.Builder
	for i, element := range all {
		part, err := toText(element)
		if err != nil {
			return nil, err
		}
		if i > 0 {
			out.WriteString(separator)
		}
		out.WriteString(part.(string))
		if out.Len() > maxText {
			return nil, errLongText
		}
	}
	return out.String(), nil
}

func replace(args ...any) (any, error) {
	var in [3]string
	for i, arg := range args {
		s, err := text(arg)
		if err != nil {
			return nil, err
		}
		in[i], _ = s.(string)
	}
	if grown := strings.Count(in[0], in[1]) * len(in[2]); grown > maxText-len(in[0]) && grown > 0 {
		return nil, errLongText
	}
	return strings.ReplaceAll(in[0], in[1], in[2]), nil
}
