package rabbitbroker

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// valueOf undoes textOf. It fails where somebody has changed the text into
// one that is not of the type any more.
func valueOf(text string, shape any) (any, error) {
	if letter, ok := shape.(string); ok {
		return plainValue(text, letter)
	}
	return nested(json.RawMessage(text), shape)
}

func plainValue(text, letter string) (any, error) {
	switch letter {
	case isNil:
		if text != "" {
			return nil, errShape
		}
		return nil, nil
	case isBool:
		return strconv.ParseBool(text)
	case isFloat32:
		f, err := strconv.ParseFloat(text, 32)
		return float32(f), err
	case isFloat64:
		return strconv.ParseFloat(text, 64)
	case isDecimal:
		return parseDecimal(text)
	case isTime:
		return parseTime(text)
	case isText:
		return text, nil
	case isBytes:
		return []byte(text), nil
	case isTextB64:
		b, err := base64.StdEncoding.DecodeString(text)
		return string(b), err
	case isBytesB64:
		return base64.StdEncoding.DecodeString(text)
	}
	return parseInt(text, letter)
}

func parseInt(text, letter string) (any, error) {
	switch letter {
	case isInt8:
		n, err := strconv.ParseInt(text, 10, 8)
		return int8(n), err
	case isInt16:
		n, err := strconv.ParseInt(text, 10, 16)
		return int16(n), err
	case isInt32:
		n, err := strconv.ParseInt(text, 10, 32)
		return int32(n), err
	case isInt64:
		return strconv.ParseInt(text, 10, 64)
	case isUint8:
		n, err := strconv.ParseUint(text, 10, 8)
		return uint8(n), err
	case isUint16:
		n, err := strconv.ParseUint(text, 10, 16)
		return uint16(n), err
	case isUint32:
		n, err := strconv.ParseUint(text, 10, 32)
		return uint32(n), err
	}
	return nil, fmt.Errorf("unknown type letter %q", letter)
}

func parseDecimal(text string) (any, error) {
	whole, fraction, _ := strings.Cut(text, ".")
	if len(fraction) > math.MaxUint8 {
		return nil, errShape
	}
	n, err := strconv.ParseInt(whole+fraction, 10, 32)
	return amqp.Decimal{Scale: uint8(len(fraction)), Value: int32(n)}, err //nolint:gosec // both were checked
}

func parseTime(text string) (any, error) {
	if s, err := strconv.ParseInt(text, 10, 64); err == nil {
		return time.Unix(s, 0).UTC(), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	return t.UTC(), err
}

// nested reads a value inside a table or array.
func nested(raw json.RawMessage, shape any) (any, error) {
	switch s := shape.(type) {
	case map[string]any:
		return nestedTable(raw, s)
	case []any:
		var items []json.RawMessage
		if err := json.Unmarshal(raw, &items); err != nil || len(items) != len(s) {
			return nil, errShape
		}
		list := make([]any, len(s))
		for i := range items {
			value, err := nested(items[i], s[i])
			if err != nil {
				return nil, err
			}
			list[i] = value
		}
		return list, nil
	case string:
		text := string(raw)
		if s == isNil {
			text = strings.Replace(text, "null", "", 1)
		}
		if strings.HasPrefix(text, `"`) {
			if err := json.Unmarshal(raw, &text); err != nil {
				return nil, err
			}
		}
		return plainValue(text, s)
	}
	return nil, errShape
}

func nestedTable(raw json.RawMessage, shapes map[string]any) (any, error) {
	var items map[string]json.RawMessage
	if err := json.Unmarshal(raw, &items); err != nil || len(items) != len(shapes) {
		return nil, errShape
	}
	table := make(amqp.Table, len(items))
	for key, item := range items {
		shape, ok := shapes[key]
		if !ok {
			return nil, errShape
		}
		value, err := nested(item, shape)
		if err != nil {
			return nil, err
		}
		table[unsafeKey(key)] = value
	}
	return table, nil
}
