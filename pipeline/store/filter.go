package store

import (
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// Field is what a condition looks at.
type Field string

// The fields. Those of the first block have one text a message; not each is
// known of everything: a condition on what is not there is never true.
const (
	FieldMessage     Field = "id"
	FieldHandler     Field = "handler"
	FieldTopic       Field = "topic"
	FieldKey         Field = "key"
	FieldCorrelation Field = "correlation"
	FieldState       Field = "state"
	FieldReason      Field = "reason"
	FieldError       Field = "error"
	FieldErrorType   Field = "error_type"
	FieldFingerprint Field = "fingerprint"
	FieldParked      Field = "parked" // true or false, of dead letters

	FieldHeader  Field = "header"  // the header Name
	FieldPointer Field = "pointer" // the scalar at the JSON Pointer Name, as text
	FieldText    Field = "text"    // payload and error; Contains only, ASCII letters in any case
	FieldTime    Field = "time"    // when it happened; Since and Before only
)

// Op is how a condition compares. All but FieldText compare byte by byte.
type Op string

// The operators. Equals is the default, of FieldText Contains.
const (
	Equals   Op = "equals"
	Prefix   Op = "prefix"
	Contains Op = "contains"
	Exists   Op = "exists" // has no Value
	Since    Op = "since"  // Value is a time as RFC 3339, and belongs to it
	Before   Op = "before" // likewise, and does not
)

// Filter is a condition on messages: And, Or, Not, or one comparison. The zero
// Filter is true of everything. Numbers are compared as they are written: 1.0
// is not 1.
type Filter struct {
	And []Filter `json:"and,omitempty"`
	Or  []Filter `json:"or,omitempty"`
	Not *Filter  `json:"not,omitempty"`

	Field Field  `json:"field,omitempty"`
	Name  string `json:"name,omitempty"` // of FieldHeader and FieldPointer
	Op    Op     `json:"op,omitempty"`
	Value string `json:"value,omitempty"`
}

// MaxFilterDepth bounds how deep filters are nested, MaxFilterSize how many
// there may be in one.
const (
	MaxFilterDepth = 20
	MaxFilterSize  = 500
)

// Is is true where the field has that text.
func Is(field Field, value string) Filter { return Filter{Field: field, Value: value} }

// Not is true where f is not.
func Not(f Filter) Filter { return Filter{Not: &f} }

// Check returns an error that wraps ErrInvalid if the filter makes no sense.
func (f Filter) Check() error {
	size := 0
	if err := f.check(MaxFilterDepth, &size); err != nil {
		return fmt.Errorf("filter: %w: %w", ErrInvalid, err)
	}
	return nil
}

func (f Filter) check(depth int, size *int) error {
	if *size++; depth == 0 || *size > MaxFilterSize {
		return fmt.Errorf("at most %d conditions, %d deep", MaxFilterSize, MaxFilterDepth)
	}
	branches := 0
	for _, has := range []bool{len(f.And) > 0, len(f.Or) > 0, f.Not != nil, f.Field != ""} {
		if has {
			branches++
		}
	}
	if branches > 1 {
		return errors.New("one of and, or, not and field at a time: nest them")
	}
	for _, inner := range append(append([]Filter(nil), f.And...), f.Or...) {
		if err := inner.check(depth-1, size); err != nil {
			return err
		}
	}
	if f.Not != nil {
		return f.Not.check(depth-1, size)
	}
	return f.checkTest()
}

func (f Filter) checkTest() error {
	for _, text := range []string{f.Name, f.Value} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
			return fmt.Errorf("%q is not text", text)
		}
	}
	named := f.Field == FieldHeader || f.Field == FieldPointer
	switch {
	case f.Field == "":
		if f.Op != "" || f.Name != "" || f.Value != "" {
			return errors.New("a comparison has a field")
		}
		return nil
	case !f.Field.known():
		return fmt.Errorf("unknown field %q", f.Field)
	case !named && f.Name != "":
		return fmt.Errorf("field %s has no name", f.Field)
	case f.Field == FieldPointer:
		if err := pointer.Check(f.Name); err != nil {
			return err
		}
	}
	return f.checkOp()
}

func (f Filter) checkOp() error {
	ops := []Op{Equals, Prefix, Contains, Exists}
	switch f.Field {
	case FieldText:
		ops = []Op{Contains}
	case FieldTime:
		ops = []Op{Since, Before}
	}
	for _, op := range ops {
		if f.Operator() != op {
			continue
		}
		if op == Since || op == Before {
			_, err := f.Time()
			return err
		}
		return nil
	}
	return fmt.Errorf("field %s knows no %q, only %v", f.Field, f.Op, ops)
}

// Operator returns the filter's operator, or its field's default.
func (f Filter) Operator() Op {
	switch {
	case f.Op != "":
		return f.Op
	case f.Field == FieldText:
		return Contains
	}
	return Equals
}

// Time returns the Value of Since and Before.
func (f Filter) Time() (time.Time, error) {
	t, err := time.Parse(time.RFC3339Nano, f.Value)
	if err != nil {
		return t, fmt.Errorf("%q is not a time: write it as in 2026-01-31T08:00:00Z", f.Value)
	}
	return t, nil
}

func (f Field) known() bool {
	switch f {
	case FieldMessage, FieldHandler, FieldTopic, FieldKey, FieldCorrelation, FieldState, FieldReason, FieldError,
		FieldErrorType, FieldFingerprint, FieldParked, FieldHeader, FieldPointer, FieldText, FieldTime:
		return true
	}
	return false
}

// And is true where all are, Or where one is. Of none, both are true.
func And(filters ...Filter) Filter { return Filter{And: filters} }

// Or see And.
func Or(filters ...Filter) Filter { return Filter{Or: filters} }
