package rule

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// Lazy is a JSON document that an expression decodes no further than it
// looks: line.type costs one walk over the line's members. It stands in an
// environment wherever a decoded tree can. What it found once it keeps, so
// that the second rule over the same line is cheaper than the first.
//
// A Lazy is for one goroutine at a time. Its document must not change while
// it, or a value that came from it, is in use.
type Lazy struct {
	doc     []byte
	members []Member // of an object, once indexed
	own     []Member // memory for members
	values  []value  // of members, as far as they were asked for
	indexed bool
	tree    any
	decoded bool // tree holds the whole document
}

// Member is a member of an object in a document.
type Member struct {
	Name []byte // without quotes and escapes
	Raw  []byte // the value as it stands
}

// value is a member's value.
type value struct {
	is    any
	known bool
}

// NewLazy wraps a document that is known to be valid JSON. Broken parts come
// to light as errors where an expression looks at them, or not at all.
func NewLazy(doc []byte) *Lazy { return &Lazy{doc: trim(doc)} }

// Reset makes l stand for another document, as NewLazy does, and keeps its
// memory.
func (l *Lazy) Reset(doc []byte) {
	l.ResetObject(trim(doc), nil)
	l.indexed = false
}

// ResetObject is Reset for a caller who has walked over the object already.
// l uses members until it is reset.
func (l *Lazy) ResetObject(doc []byte, members []Member) {
	l.doc, l.indexed, l.members = doc, true, members
	l.tree, l.decoded = nil, false
	clear(l.own)
	clear(l.values)
	l.own, l.values = l.own[:0], l.values[:0]
}

// trim drops the white space around a document.
func trim(doc []byte) []byte { return bytes.Trim(doc, " \t\r\n") }

// Raw returns the document's bytes, without white space around them.
func (l *Lazy) Raw() []byte { return l.doc }

// Tree returns the document as Decode does.
func (l *Lazy) Tree() (any, error) {
	if l.decoded {
		return l.tree, nil
	}
	tree, err := Decode(l.doc)
	if err != nil {
		return nil, err
	}
	l.tree, l.decoded = tree, true
	return tree, nil
}

// isObject reports whether the document is an object, by its first byte.
func (l *Lazy) isObject() bool { return len(l.doc) > 0 && l.doc[0] == '{' }

// get returns the value of a member of the object; nil if there is none.
func (l *Lazy) get(name string) (any, error) {
	i, err := l.member(name)
	if i < 0 || err != nil {
		return nil, err
	}
	for len(l.values) <= i {
		l.values = append(l.values, value{})
	}
	v := &l.values[i]
	if !v.known {
		if v.is, err = scalar(l.members[i].Raw); err != nil {
			return nil, err
		}
		v.known = true
	}
	return v.is, nil
}

// member returns the index of a member of the object by name; -1 if there is
// none.
func (l *Lazy) member(name string) (found int, err error) {
	if err := l.index(); err != nil {
		return -1, err
	}
	found = -1
	for i := range l.members {
		if string(l.members[i].Name) != name {
			continue
		}
		if found >= 0 {
			return -1, fmt.Errorf("member %q is there twice", name)
		}
		found = i
	}
	return found, nil
}

// index finds the object's members.
func (l *Lazy) index() error {
	if l.indexed {
		return nil
	}
	l.own = l.own[:0]
	c := pointer.Open(l.doc, 0)
	for c.Next() {
		l.own = append(l.own, Member{Name: c.DecodedName(), Raw: c.Value().Of(l.doc)})
	}
	l.members, l.indexed = l.own, c.Err() == nil
	return c.Err()
}

// scalar decodes a value, or wraps it if it is an array or an object.
func scalar(raw []byte) (any, error) {
	switch raw[0] {
	case '{', '[':
		return NewLazy(raw), nil
	case '"':
		return unquote(raw)
	}
	switch string(raw) {
	case "null":
		return nil, nil
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	if text := string(raw); isNumber(text) {
		return Decimal{text: text}, nil
	}
	return nil, errors.New("malformed JSON")
}

// unquote returns the text of a string.
func unquote(raw []byte) (string, error) {
	text, err := pointer.Unquote(raw)
	if err != nil {
		return "", fmt.Errorf("text is not Unicode: %w", err)
	}
	return text, nil
}

// plain returns v, decoded if it is a Lazy.
func plain(v any) (any, error) {
	if l, ok := v.(*Lazy); ok {
		return l.Tree()
	}
	return v, nil
}
