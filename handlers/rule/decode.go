package rule

import (
	"bytes"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// MaxDepth is how deep arrays and objects may nest in what Decode and Encode
// take.
const MaxDepth = 64

// Decode returns the tree of a JSON document: map[string]any, []any, string,
// bool, nil, and Decimal for numbers. It is strict: one value and nothing
// after it, valid UTF-8, no name twice in an object, at most MaxDepth levels.
// Numbers of any size are read.
func Decode(doc []byte) (any, error) {
	d := jsontext.NewDecoder(bytes.NewReader(doc))
	tree, err := decodeValue(d, 0)
	if err != nil {
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	switch _, err := d.ReadToken(); {
	case err == nil:
		return nil, fmt.Errorf("decode JSON: more than one value")
	case err != io.EOF: //nolint:errorlint // the decoder returns the bare io.EOF
		return nil, fmt.Errorf("decode JSON: %w", err)
	}
	return tree, nil
}

func decodeValue(d *jsontext.Decoder, depth int) (any, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, eof(err)
	}
	switch token.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return token.Bool(), nil
	case '"':
		return token.String(), nil
	case '0':
		return Decimal{text: token.String()}, nil
	}
	if depth == MaxDepth {
		return nil, fmt.Errorf("more than %d levels deep", MaxDepth)
	}
	if token.Kind() == '{' {
		return decodeObject(d, depth+1)
	}
	return decodeArray(d, depth+1)
}

func decodeObject(d *jsontext.Decoder, depth int) (any, error) {
	object := map[string]any{}
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		if err != nil {
			return nil, eof(err)
		}
		key := name.String() // before the next read makes the token invalid
		if object[key], err = decodeValue(d, depth); err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return object, eof(err)
}

func decodeArray(d *jsontext.Decoder, depth int) (any, error) {
	array := []any{}
	for d.PeekKind() != ']' {
		element, err := decodeValue(d, depth)
		if err != nil {
			return nil, err
		}
		array = append(array, element)
	}
	_, err := d.ReadToken()
	return array, eof(err)
}

// eof says that text which ends too soon is broken, not at its end.
func eof(err error) error {
	if err == io.EOF { //nolint:errorlint // the decoder returns the bare io.EOF
		return io.ErrUnexpectedEOF
	}
	return err
}
