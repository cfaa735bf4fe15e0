package sqlstore

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// noText begins what stands for bytes that SQL text cannot hold: U+FFFD, which
// nobody writes on purpose, and then the bytes as hexadecimal digits.
const noText = "\uFFFDhex:"

// encodeText returns s as text that every database takes. Only what is no text
// (not UTF-8, or with a NUL in it) looks different, and decodeText gives back
// each byte.
func encodeText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 && !strings.HasPrefix(s, noText) {
		return s
	}
	return noText + hex.EncodeToString([]byte(s))
}

// indexed returns an id or a key as a column has it that is in an index.
func indexed(id string) string { return encodeText(store.ShortID(id)) }

// long returns an id or a key for the column beside that, which has what is too
// long for it.
func long(id string) string {
	if store.ShortID(id) == id {
		return ""
	}
	return encodeText(id)
}

// whole returns what indexed and long were made of.
func whole(short, long string) string {
	if long != "" {
		return decodeText(long)
	}
	return decodeText(short)
}

func decodeText(s string) string {
	digits, ok := strings.CutPrefix(s, noText)
	if !ok {
		return s
	}
	b, err := hex.DecodeString(digits)
	if err != nil {
		return s // not ours
	}
	return string(b)
}

// show makes text for people of what should be text.
func show(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// encodeHeaders returns headers as a JSON object of encoded texts.
func encodeHeaders(headers map[string]string) (string, error) {
	if len(headers) == 0 {
		return "{}", nil
	}
	texts := make(map[string]string, len(headers))
	for k, v := range headers {
		texts[encodeText(k)] = encodeText(v)
	}
	b, err := json.Marshal(texts, json.Deterministic(true))
	return string(b), err
}

func decodeHeaders(text string) (map[string]string, error) {
	var texts map[string]string
	if err := json.Unmarshal([]byte(text), &texts, jsontext.AllowDuplicateNames(true)); err != nil {
		return nil, fmt.Errorf("read headers: %w", err)
	}
	headers := make(map[string]string, len(texts))
	for k, v := range texts {
		headers[decodeText(k)] = decodeText(v)
	}
	return headers, nil
}

// The forms of a payload: what can be asked of it.
const (
	formBytes = 0 // has a NUL, which no SQL text can hold
	formText  = 1
	formJSON  = 2 // store.Searchable
)

func formOf(payload []byte) int64 {
	switch {
	case store.Searchable(payload):
		return formJSON
	case bytes.IndexByte(payload, 0) < 0:
		return formText
	}
	return formBytes
}

// bytesOf is never NULL in the database.
func bytesOf(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
