package sqlstore

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// columns names the columns of a table that filters look at.
type columns struct {
	texts                        map[store.Field]string
	time, headers, form, payload string
	text                         string // beside the payload, for FieldText

	// usual has, for columns with an index, the value that the index leaves out,
	// as most rows have it or nobody asks for it.
	usual map[store.Field]string
}

// builder makes SQL of filters, and collects the values in it.
type builder struct {
	dialect Dialect
	columns columns
	args    []any
}

// where returns the condition that stands for f, and the values of its
// parameters, which follow those given.
func (s *Store) where(c columns, f store.Filter, args ...any) (string, []any, error) {
	if err := f.Check(); err != nil {
		return "", nil, err
	}
	b := &builder{dialect: s.dialect, columns: c, args: args}
	return b.condition(f), b.args, nil
}

// value returns a parameter for v.
func (b *builder) value(v any) string {
	b.args = append(b.args, v)
	return "$" + strconv.Itoa(len(b.args))
}

// text returns a parameter that is a text also where PostgreSQL cannot tell.
func (b *builder) text(v string) string { return "CAST(" + b.value(v) + " AS TEXT)" }

func (b *builder) condition(f store.Filter) string {
	switch {
	case len(f.And) > 0:
		return b.join(f.And, " AND ")
	case len(f.Or) > 0:
		return b.join(f.Or, " OR ")
	case f.Not != nil:
		return "NOT " + b.condition(*f.Not)
	case f.Field == "":
		return "(1 = 1)"
	}
	if b.indexed(f) { // never NULL, and no index could answer it behind IS TRUE
		return "(" + b.test(f) + ")"
	}
	return "((" + b.test(f) + ") IS TRUE)" // NULL is what is not there, also under NOT
}

// indexed reports whether an index can answer f.
func (b *builder) indexed(f store.Filter) bool {
	usual, ok := b.columns.usual[f.Field]
	return ok && f.Operator() == store.Equals && f.Value != usual
}

func (b *builder) join(filters []store.Filter, with string) string {
	parts := make([]string, len(filters))
	for i, f := range filters {
		parts[i] = b.condition(f)
	}
	return "(" + strings.Join(parts, with) + ")"
}

func (b *builder) test(f store.Filter) string {
	c := b.columns
	switch f.Field {
	case store.FieldText:
		return b.dialect.ContainsFold(c.form, c.payload, c.text, b.text(f.Value))
	case store.FieldTime:
		at, _ := f.Time() // was checked
		op := " >= "
		if f.Op == store.Before {
			op = " < "
		}
		return c.time + op + b.value(at.UnixMicro())
	case store.FieldHeader:
		return b.compare(b.dialect.Header(c.headers, b.text(encodeText(f.Name))), f)
	case store.FieldPointer:
		part := ""
		if f.Operator() != store.Exists && f.Value != "" {
			part = b.text(f.Value)
		}
		return b.compare(b.dialect.Pointer(c.form, c.payload, f.Name, part), f)
	}
	return b.compare(b.column(f.Field), f)
}

// column returns the column of a field, NULL for one that the table has not.
func (b *builder) column(f store.Field) string {
	if c, ok := b.columns.texts[f]; ok {
		return c
	}
	return "CAST(NULL AS TEXT)"
}

func (b *builder) compare(text string, f store.Filter) string {
	switch f.Operator() {
	case store.Exists:
		return text + " IS NOT NULL"
	case store.Prefix:
		v := b.text(f.Value)
		return fmt.Sprintf("substr(%s, 1, length(%s)) = %s", text, v, v)
	case store.Contains:
		return b.dialect.Contains(text, b.text(f.Value))
	}
	equals := text + " = " + b.text(f.Value)
	if b.indexed(f) { // written out, so that the planner sees that the index has it
		equals += " AND " + text + " <> '" + b.columns.usual[f.Field] + "'"
	}
	return equals
}
