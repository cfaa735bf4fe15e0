package rabbitbroker

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	amqp "github.com/rabbitmq/amqp091-go"
)

// A header's value is kept in metadata as readable text, and its AMQP type
// beside it as a shape: a letter as on the wire for a plain value, an object
// of shapes for a table, an array of shapes for an array. Text and shape
// together give the value back.

// Letters of AMQP field types, and two of our own for bytes that are not text.
const (
	isBool      = "t"
	isInt8      = "b"
	isUint8     = "B"
	isInt16     = "s"
	isUint16    = "u"
	isInt32     = "I"
	isUint32    = "i"
	isInt64     = "l"
	isFloat32   = "f"
	isFloat64   = "d"
	isDecimal   = "D"
	isTime      = "T"
	isText      = "S"
	isBytes     = "x"
	isNil       = "V"
	isTextB64   = "S64" // text that is not UTF-8, as base64
	isBytesB64  = "x64" // bytes that are not UTF-8, as base64
	keyB64      = "b64:"
	maxTimeText = 253402300799 // the last second of year 9999, the last that RFC 3339 can write
)

var errShape = errors.New("text does not fit its type")

// textOf returns a value's text and shape. Strings at the top are passed as
// they are, whatever bytes they hold: metadata can.
func textOf(value any) (text string, shape any) {
	switch v := value.(type) {
	case amqp.Table, []any:
		var out bytes.Buffer
		shape = appendJSON(&out, v)
		return out.String(), shape
	case string:
		return v, isText
	}
	return plainText(value)
}

// plainText returns the text of a value that is no table or array.
func plainText(value any) (text string, letter string) {
	switch v := value.(type) {
	case nil:
		return "", isNil
	case bool:
		return strconv.FormatBool(v), isBool
	case int8:
		return strconv.FormatInt(int64(v), 10), isInt8
	case uint8:
		return strconv.FormatUint(uint64(v), 10), isUint8
	case int16:
		return strconv.FormatInt(int64(v), 10), isInt16
	case uint16:
		return strconv.FormatUint(uint64(v), 10), isUint16
	case int32:
		return strconv.FormatInt(int64(v), 10), isInt32
	case int:
		return strconv.Itoa(v), isInt32 // amqp091-go sends an int as 32 bits
	case uint32:
		return strconv.FormatUint(uint64(v), 10), isUint32
	case int64:
		return strconv.FormatInt(v, 10), isInt64
	case float32:
		return strconv.FormatFloat(float64(v), 'g', -1, 32), isFloat32
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64), isFloat64
	case amqp.Decimal:
		return decimalText(v), isDecimal
	case time.Time:
		return timeText(v), isTime
	case string:
		return bytesText([]byte(v), isText, isTextB64)
	case []byte:
		return bytesText(v, isBytes, isBytesB64)
	}
	return fmt.Sprint(value), isText
}

func bytesText(b []byte, plain, encoded string) (string, string) {
	if utf8.Valid(b) {
		return string(b), plain
	}
	return base64.StdEncoding.EncodeToString(b), encoded
}

func timeText(t time.Time) string {
	if s := t.Unix(); s < 0 || s > maxTimeText {
		return strconv.FormatInt(s, 10)
	}
	return t.UTC().Format(time.RFC3339)
}

// decimalText writes all digits that the scale says, so that it can be read
// back from them.
func decimalText(d amqp.Decimal) string {
	digits, sign := strconv.FormatInt(int64(d.Value), 10), ""
	if d.Value < 0 {
		digits, sign = digits[1:], "-"
	}
	if d.Scale == 0 {
		return sign + digits
	}
	if missing := int(d.Scale) + 1 - len(digits); missing > 0 {
		digits = strings.Repeat("0", missing) + digits
	}
	point := len(digits) - int(d.Scale)
	return sign + digits[:point] + "." + digits[point:]
}

// appendJSON writes a value inside a table or array, and returns its shape.
func appendJSON(out *bytes.Buffer, value any) (shape any) {
	switch v := value.(type) {
	case amqp.Table:
		return appendTable(out, v)
	case []any:
		shapes := make([]any, len(v))
		out.WriteByte('[')
		for i, inner := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			shapes[i] = appendJSON(out, inner)
		}
		out.WriteByte(']')
		return shapes
	}
	text, letter := plainText(value)
	switch letter {
	case isNil:
		out.WriteString("null")
	case isText, isTextB64, isBytes, isBytesB64, isTime:
		appendString(out, text)
	default:
		if f, err := strconv.ParseFloat(text, 64); letter != isBool && (err != nil || math.IsNaN(f) || math.IsInf(f, 0)) {
			appendString(out, text)
		} else {
			out.WriteString(text)
		}
	}
	return letter
}

func appendTable(out *bytes.Buffer, table amqp.Table) map[string]any {
	names := make([]string, 0, len(table))
	for name := range table {
		names = append(names, name)
	}
	slices.Sort(names)
	shapes := make(map[string]any, len(table))
	out.WriteByte('{')
	for i, name := range names {
		if i > 0 {
			out.WriteByte(',')
		}
		safe := safeKey(name)
		appendString(out, safe)
		out.WriteByte(':')
		shapes[safe] = appendJSON(out, table[name])
	}
	out.WriteByte('}')
	return shapes
}

func appendString(out *bytes.Buffer, s string) {
	quoted, _ := jsontext.AppendQuote(out.AvailableBuffer(), s) // is UTF-8: cannot fail
	out.Write(quoted)
}

// safeKey makes a name one that JSON can hold.
func safeKey(name string) string {
	if utf8.ValidString(name) && !strings.HasPrefix(name, keyB64) {
		return name
	}
	return keyB64 + base64.StdEncoding.EncodeToString([]byte(name))
}

func unsafeKey(key string) string {
	encoded, ok := strings.CutPrefix(key, keyB64)
	if !ok {
		return key
	}
	name, err := base64.StdEncoding.DecodeString(encoded)
	if err != nil {
		return key
	}
	return string(name)
}
