// Package pointer reads single values out of JSON text where they stand,
// without decoding the rest of it: the key of a message, the id of an order,
// the lines of an order.
//
// What it walks over it checks: text that is not JSON gives an error, never a
// panic. What it does not reach it does not check, so that a Lookup may find
// a value in a text that is broken further on. Three things are left to those
// who care: that the text is UTF-8, that no name is twice in an object, and
// that escapes are no half surrogates. A walk that comes to its end has seen
// the whole value.
//
// Paths are JSON Pointers (RFC 6901): "/customer/id", "/lines/0/sku", and ""
// for the whole document. "~1" stands for a slash in a name, "~0" for a tilde.
package pointer

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrSyntax is wrapped by the error for a path that is no JSON Pointer.
var ErrSyntax = errors.New("not a JSON Pointer")

// Span is the range of bytes [Start, End) of a value in its document.
type Span struct{ Start, End int }

// Of returns the bytes of the span in doc. Appending to them copies them.
func (s Span) Of(doc []byte) []byte { return doc[s.Start:s.End:s.End] }

// Check returns an error that wraps ErrSyntax if path is no JSON Pointer.
func Check(path string) error {
	if path != "" && path[0] != '/' {
		return fmt.Errorf("%q: %w: it starts with a slash, as in \"/id\"", path, ErrSyntax)
	}
	for i := range len(path) {
		if path[i] == '~' && !strings.HasPrefix(path[i+1:], "0") && !strings.HasPrefix(path[i+1:], "1") {
			return fmt.Errorf("%q: %w: ~ is written ~0, / in a name ~1", path, ErrSyntax)
		}
	}
	return nil
}

// Lookup returns the value at path as it stands in doc, quotes included: a
// part of doc, not a copy. ok is false where the document has no such value.
// Of members with the same name the first counts. The error wraps ErrSyntax
// or ErrMalformed. It allocates nothing, unless path has escapes.
func Lookup(doc []byte, path string) (value []byte, ok bool, err error) {
	span, ok, err := Find(doc, path)
	if !ok {
		return nil, false, err
	}
	return span.Of(doc), true, nil
}

// Find is Lookup for those who need the place of the value, not the value.
func Find(doc []byte, path string) (span Span, ok bool, err error) {
	if err := Check(path); err != nil {
		return Span{}, false, err
	}
	at := space(doc, 0)
	for path != "" {
		var token string
		token, path = cut(path)
		if at, ok, err = child(doc, at, token); !ok {
			return Span{}, false, err
		}
	}
	end := valueEnd(doc, at, MaxDepth)
	if end < 0 {
		return Span{}, false, malformed(at)
	}
	return Span{at, end}, true, nil
}

// cut splits a path that is not empty into its first token and what follows,
// which is "" or starts with a slash.
func cut(path string) (token, rest string) {
	token = path[1:]
	if slash := strings.IndexByte(token, '/'); slash >= 0 {
		token, rest = token[:slash], token[slash:]
	}
	if strings.Contains(token, "~") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return token, rest
}

// child returns the offset of the member or element that token names in the
// value at offset at.
func child(doc []byte, at int, token string) (offset int, ok bool, err error) {
	c := Open(doc, at)
	index := -1
	if c.IsArray() {
		if index = arrayIndex(token); index < 0 {
			return 0, false, nil
		}
	}
	for c.Next() {
		if index == 0 || index < 0 && c.NameIs(token) {
			return c.value.Start, true, nil
		}
		index--
	}
	return 0, false, c.Err()
}

// arrayIndex returns the index that token stands for, or -1: digits without
// a leading zero. "-", the element after the last, is never there.
func arrayIndex(token string) int {
	if len(token) > 1 && token[0] == '0' {
		return -1
	}
	index, err := strconv.ParseUint(token, 10, 31)
	if err != nil {
		return -1
	}
	return int(index)
}

// First returns the first of the paths' values that is a scalar, as Text has
// it. What is no JSON, or no path, has none.
func First(doc []byte, paths []string) (text string, ok bool) {
	for _, path := range paths {
		value, found, err := Lookup(doc, path)
		if err != nil || !found {
			continue
		}
		if text, ok = Text(value); ok {
			return text, true
		}
	}
	return "", false
}

// Text returns a scalar as text, as a key or an id: a string without quotes
// and escapes, a number or a boolean as it is written. ok is false for null,
// arrays, objects, and strings that are no Unicode text.
func Text(value []byte) (text string, ok bool) {
	if len(value) == 0 {
		return "", false
	}
	switch value[0] {
	case '"':
		text, err := Unquote(value)
		return text, err == nil
	case '{', '[', 'n':
		return "", false
	}
	return string(value), true
}

// Unquote returns the text of a JSON string; value begins with its quote. The
// error says that it is malformed, or no Unicode text. One without escapes, as
// most are, costs half of what AppendUnquote does.
func Unquote(value []byte) (string, error) {
	if end, escaped := stringEnd(value, 0); end == len(value) && !escaped && utf8.Valid(value) {
		return string(value[1 : end-1]), nil
	}
	text, err := jsontext.AppendUnquote(nil, value)
	return string(text), err
}
