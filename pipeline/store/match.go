package store

import (
	"bytes"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// Record is what a filter looks at, for Match.
type Record struct {
	Texts map[Field]string // those that are known
	Story string           // what FieldText looks into, too: the attempts of a log entry
	Time  time.Time
	Content
}

// Match reports whether the filter, which must be valid, is true of the
// record. It says in Go what drivers say in SQL; the suite holds them to it.
func (f Filter) Match(r *Record) bool {
	switch {
	case len(f.And) > 0:
		for _, inner := range f.And {
			if !inner.Match(r) {
				return false
			}
		}
		return true
	case len(f.Or) > 0:
		for _, inner := range f.Or {
			if inner.Match(r) {
				return true
			}
		}
		return false
	case f.Not != nil:
		return !f.Not.Match(r)
	}
	return f.test(r)
}

func (f Filter) test(r *Record) bool {
	switch f.Field {
	case "":
		return true
	case FieldText:
		return containsFold(r.Payload, f.Value) || containsFold([]byte(r.Texts[FieldError]), f.Value) ||
			containsFold([]byte(r.Story), f.Value)
	case FieldTime:
		at, _ := f.Time()
		return r.Time.UnixMicro() < at.UnixMicro() == (f.Op == Before)
	case FieldHeader:
		text, ok := r.Headers[f.Name]
		return ok && f.compare(text)
	case FieldPointer:
		text, ok := PointerText(r.Payload, f.Name)
		return ok && f.compare(text)
	}
	text, ok := r.Texts[f.Field]
	return ok && f.compare(text)
}

func (f Filter) compare(text string) bool {
	switch f.Operator() {
	case Prefix:
		return strings.HasPrefix(text, f.Value)
	case Contains:
		return strings.Contains(text, f.Value)
	case Exists:
		return true
	}
	return text == f.Value
}

// PointerText returns the text of the scalar at a JSON Pointer of a payload
// that is Searchable; ok is false where there is none.
func PointerText(payload []byte, path string) (text string, ok bool) {
	if !Searchable(payload) {
		return "", false
	}
	value, ok, err := pointer.Lookup(payload, path)
	if err != nil || !ok {
		return "", false
	}
	return pointer.Text(value)
}

// maxSearchDepth is how deep a payload may be nested to be looked into: SQL
// engines parse it with a stack of their own.
const maxSearchDepth = 200

// Searchable reports whether a payload is JSON that every driver can look into:
// strictly valid, in UTF-8, no name twice in an object, no NUL in a string (no
// SQL text can hold one), not nested too deep.
func Searchable(payload []byte) bool {
	return bytes.IndexByte(payload, 0) < 0 && !bytes.Contains(payload, []byte(`\u0000`)) &&
		depth(payload) <= maxSearchDepth && jsontext.Value(payload).IsValid()
}

// depth returns how deep JSON text is nested.
func depth(doc []byte) int {
	deepest, now, quoted := 0, 0, false
	for i := 0; i < len(doc); i++ {
		switch c := doc[i]; {
		case quoted && c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '{' || c == '[':
			now++
			deepest = max(deepest, now)
		case c == '}' || c == ']':
			now--
		}
	}
	return deepest
}

// containsFold is strings.Contains with ASCII letters in any case. Bytes with a
// NUL are no text and compared as they are: no SQL text can hold one.
func containsFold(b []byte, text string) bool {
	if bytes.IndexByte(b, 0) >= 0 {
		return bytes.Contains(b, []byte(text))
	}
	return bytes.Contains(lower(b), lower([]byte(text)))
}

func lower(b []byte) []byte {
	low := make([]byte, len(b))
	for i, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		low[i] = c
	}
	return low
}
