package prepare

import (
	"bytes"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// linesName is the one member of an order that is ever written.
const linesName = "order_lines"

// check refuses what the walk over the order cannot see.
func (p *Preparer) check(order []byte) error {
	if !utf8.Valid(order) {
		return pipeline.Invalid("the order is not valid UTF-8")
	}
	if tooDeep(order, p.config.MaxDepth) {
		return pipeline.Invalid("the order is more than %d levels deep", p.config.MaxDepth)
	}
	if c := pointer.Open(order, 0); !c.IsObject() {
		return pipeline.Invalid("the order is not a JSON object")
	}
	return nil
}

// tooDeep reports whether arrays and objects nest deeper than limit.
func tooDeep(order []byte, limit int) bool {
	if bytes.Count(order, []byte{'{'})+bytes.Count(order, []byte{'['}) <= limit {
		return false
	}
	depth, inString := 0, false
	for i := 0; i < len(order); i++ {
		switch order[i] {
		case '"':
			inString = !inString
		case '\\':
			i++ // outside a string it is an error that others will find
		case '{', '[':
			if !inString {
				depth++
			}
		case '}', ']':
			if !inString {
				depth--
			}
		}
		if depth > limit {
			return true
		}
	}
	return false
}

// invalid turns an error of the walk, which says where, into one that also
// says what is wrong. Names that are there twice are carried through where
// they make no difference, and so are escapes of half surrogates.
func (w *workspace) invalid(err error) error {
	if err == nil {
		return nil
	}
	d := jsontext.NewDecoder(bytes.NewReader(w.order), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if _, fault := d.ReadValue(); fault != nil {
		err = fault
	}
	return pipeline.Invalid("the order is not valid JSON: %w", err)
}
