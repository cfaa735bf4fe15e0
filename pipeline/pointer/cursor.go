package pointer

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json/jsontext"
)

// ErrMalformed is wrapped by the error for text that is not JSON.
var ErrMalformed = errors.New("malformed JSON")

// Cursor walks over the members of an object or the elements of an array:
//
//	c := pointer.Open(doc, 0)
//	for c.Next() {
//		use(c.Name.Of(doc), c.Value().Of(doc))
//	}
//	if err := c.Err(); err != nil { … }
//
// Spans count from the start of the document, also for nested values. A
// nested value is walked in the same pass with Enter and Leave.
type Cursor struct {
	Name Span // of the member's name with its quotes; empty in an array

	doc     []byte
	pos     int  // of the next byte to read
	value   Span // End is 0 until someone has walked over the value
	depth   int  // how many more levels may open
	kind    byte // the bracket that opened the object or array, 0 at its end
	begun   bool
	escaped bool // Name has escapes
	failed  bool
}

// Open returns a cursor before the first member of the value that starts at
// offset at of doc, or after spaces there. A scalar has no members.
func Open(doc []byte, at int) Cursor { return open(doc, space(doc, at), MaxDepth) }

func open(doc []byte, at, depth int) Cursor {
	c := Cursor{doc: doc, pos: at, depth: depth - 1}
	switch b := peek(doc, at); b {
	case '{', '[':
		c.kind, c.failed = b, depth == 0
		c.pos++
	case 0:
		c.failed = true
	}
	return c
}

// IsObject reports whether the cursor walks over an object. It is false once
// the walk is over.
func (c *Cursor) IsObject() bool { return c.kind == '{' }

// IsArray reports whether the cursor walks over an array. It is false once
// the walk is over.
func (c *Cursor) IsArray() bool { return c.kind == '[' }

// Err returns what stopped the walk before its end. It wraps ErrMalformed.
func (c *Cursor) Err() error {
	if c.failed {
		return malformed(c.pos)
	}
	return nil
}

// End returns the offset after the closing bracket and spaces that follow it,
// once Next returned false without an error.
func (c *Cursor) End() int { return space(c.doc, c.pos) }

// Next moves to the next member. It returns false after the last and on an
// error.
func (c *Cursor) Next() bool {
	if c.begun {
		c.Value()
	}
	if c.kind == 0 || c.failed {
		return false
	}
	c.pos = space(c.doc, c.pos)
	b := peek(c.doc, c.pos)
	if b == c.kind+2 { // in ASCII } is { + 2 and ] is [ + 2
		c.pos, c.kind = c.pos+1, 0
		return false
	}
	if c.begun {
		if b != ',' {
			return c.fail()
		}
		c.pos = space(c.doc, c.pos+1)
	}
	c.begun = true
	if c.kind == '{' && !c.readName() {
		return false
	}
	c.value = Span{Start: c.pos}
	return true
}

// readName reads the member's name and the colon.
func (c *Cursor) readName() bool {
	if peek(c.doc, c.pos) != '"' {
		return c.fail()
	}
	end, escaped := stringEnd(c.doc, c.pos)
	if end < 0 {
		return c.fail()
	}
	c.Name, c.escaped = Span{c.pos, end}, escaped
	if c.pos = space(c.doc, end); peek(c.doc, c.pos) != ':' {
		return c.fail()
	}
	c.pos = space(c.doc, c.pos+1)
	return true
}

// Value returns the place of the member's value. On an error it is empty,
// and Next returns false.
func (c *Cursor) Value() Span {
	if c.value.End == 0 && !c.failed {
		end := valueEnd(c.doc, c.pos, c.depth)
		if end < 0 {
			c.fail()
			return Span{c.pos, c.pos}
		}
		c.value.End, c.pos = end, end
	}
	return c.value
}

// Enter returns a cursor over the member's value.
func (c *Cursor) Enter() Cursor { return open(c.doc, c.value.Start, c.depth) }

// Leave takes over from a cursor that Enter returned. If that came to its
// end, its value is not walked over again.
func (c *Cursor) Leave(inner *Cursor) {
	if inner.kind == 0 && !inner.failed && inner.pos > c.value.Start {
		c.value.End, c.pos = inner.pos, inner.pos
	}
}

// NameIs reports whether the member's name, its escapes decoded, is want.
func (c *Cursor) NameIs(want string) bool {
	if !c.escaped {
		return string(c.doc[c.Name.Start+1:c.Name.End-1]) == want
	}
	var buf [64]byte
	name, err := jsontext.AppendUnquote(buf[:0], c.Name.Of(c.doc))
	return err == nil && string(name) == want
}

// DecodedName returns the member's name without quotes and escapes: a part of
// the document if it has none. What is no Unicode text stays as it stands.
func (c *Cursor) DecodedName() []byte {
	if c.escaped {
		if name, err := jsontext.AppendUnquote(nil, c.Name.Of(c.doc)); err == nil {
			return name
		}
	}
	return Span{c.Name.Start + 1, c.Name.End - 1}.Of(c.doc)
}

func (c *Cursor) fail() bool {
	c.failed = true
	return false
}

func malformed(at int) error { return fmt.Errorf("%w at offset %d", ErrMalformed, at) }
