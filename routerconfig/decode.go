package routerconfig

import (
	"encoding"
	"errors"
	"fmt"
	"math"
	"reflect"
	"time"
)

// decoder puts nodes into Go values, strictly: every key must be known, every
// value of the right type. It goes on after a fault, so that all are found.
// What is written as nothing (null) leaves the default as it is.
//
// Beside the plain types it knows time.Duration with d and w for days and
// weeks, encoding.TextUnmarshaler for scalars, and UnmarshalYAML(func(any)
// error) for values of more than one form.
type decoder struct {
	report *report
	dir    string             // where the paths of secrets' files start
	files  map[pointer]string // secrets that came from a file, and its path
}

// yamlUnmarshaler decodes itself from what the given function puts into a
// value. The function can be called more than once, also later.
type yamlUnmarshaler interface {
	UnmarshalYAML(unmarshal func(any) error) error
}

// decode sets v, which is addressable, to the value of n at p.
func (d *decoder) decode(n *node, p pointer, v reflect.Value) {
	if n.broken {
		d.report.blame(p)
		return
	}
	if n.isNull() {
		return
	}
	if custom, ok := v.Addr().Interface().(yamlUnmarshaler); ok {
		d.custom(n, p, custom)
		return
	}
	if custom, ok := v.Addr().Interface().(encoding.TextUnmarshaler); ok {
		d.text(n, p, custom)
		return
	}
	if isSecret(v.Type()) {
		d.secret(n, p, v)
		return
	}
	if v.Type() == reflect.TypeFor[time.Duration]() {
		d.duration(n, p, v)
		return
	}
	d.plain(n, p, v)
}

// plain sets v by its kind.
func (d *decoder) plain(n *node, p pointer, v reflect.Value) {
	switch v.Kind() {
	case reflect.Struct:
		d.structure(n, p, v)
	case reflect.Map:
		d.mapping(n, p, v)
	case reflect.Slice:
		d.list(n, p, v)
	case reflect.Pointer:
		inner := newValue(v.Type().Elem())
		d.decode(n, p, inner.Elem())
		v.Set(inner)
	case reflect.Interface:
		v.Set(reflect.ValueOf(plainValue(n)))
	case reflect.String:
		d.string(n, p, v)
	case reflect.Bool:
		d.bool(n, p, v)
	default:
		d.number(n, p, v)
	}
}

func (d *decoder) structure(n *node, p pointer, v reflect.Value) {
	if n.form != mapping {
		d.wantForm(n, p, "a map of keys")
		return
	}
	fields := fieldsOf(v.Type())
	for _, e := range n.entries {
		at, f := p.key(e.key), findField(fields, e.key)
		if f == nil {
			if f = secretFileField(fields, e.key); f == nil {
				d.unknown(e, p, fields)
				continue
			}
			d.secretFile(n, e, p, v.FieldByIndex(f.index), f)
			continue
		}
		if f.later != "" {
			d.report.errorAt(e.at, at, "remove "+at.path(), "%s", f.later)
			continue
		}
		d.decode(e.value, at, v.FieldByIndex(f.index))
		d.checkField(e.value, at, v.FieldByIndex(f.index), f)
	}
}

// unknown tells of a key that there is not. The key that was probably meant
// counts as told of too: that it is missing has the same cause.
func (d *decoder) unknown(e entry, p pointer, fields []field) {
	var keys []string
	for _, f := range fields {
		if f.later == "" {
			keys = append(keys, f.key)
		}
	}
	d.report.errorAt(e.at, p.key(e.key), choose(e.key, "known keys", keys), "there is no such key")
	if meant := nearest(e.key, keys); meant != "" {
		d.report.blame(p.key(meant))
	}
}

func (d *decoder) mapping(n *node, p pointer, v reflect.Value) {
	if n.form != mapping || v.Type().Key().Kind() != reflect.String {
		d.wantForm(n, p, "a map")
		return
	}
	out := reflect.MakeMapWithSize(v.Type(), len(n.entries))
	for _, e := range n.entries {
		element := d.element(e.value, p.key(e.key), v.Type().Elem())
		out.SetMapIndex(reflect.ValueOf(e.key).Convert(v.Type().Key()), element)
	}
	v.Set(out)
}

func (d *decoder) list(n *node, p pointer, v reflect.Value) {
	if n.form != list {
		d.wantForm(n, p, "a list")
		return
	}
	out := reflect.MakeSlice(v.Type(), 0, len(n.items))
	for i, item := range n.items {
		if item.isNull() && !item.broken && v.Type().Elem().Kind() != reflect.Interface {
			d.report.errorAt(item.at, p.index(i), "remove the item, or give it a value", "the item is empty")
			continue
		}
		out = reflect.Append(out, d.element(item, p.index(i), v.Type().Elem()))
	}
	v.Set(out)
}

// element decodes one value of a map or list. Where pointers are kept, nothing
// written still makes an element, of defaults alone.
func (d *decoder) element(n *node, p pointer, t reflect.Type) reflect.Value {
	if t.Kind() == reflect.Pointer {
		inner := newValue(t.Elem())
		d.decode(n, p, inner.Elem())
		return inner
	}
	v := newValue(t).Elem()
	d.decode(n, p, v)
	return v
}

// custom lets a type decode itself. What it reports of decode's findings goes
// to the report as they are, so that they keep their places.
func (d *decoder) custom(n *node, p pointer, target yamlUnmarshaler) {
	err := target.UnmarshalYAML(func(into any) error {
		inner := &decoder{report: d.report.fork(), dir: d.dir, files: d.files}
		inner.decode(n, p, reflect.ValueOf(into).Elem())
		if len(inner.report.findings) > 0 {
			return inner.report.findings
		}
		return nil
	})
	var findings Findings
	switch {
	case errors.As(err, &findings):
		d.report.adopt(findings)
	case err != nil:
		d.report.errorAt(n.at, p, "", "%v", err)
	}
}

func (d *decoder) text(n *node, p pointer, target encoding.TextUnmarshaler) {
	if n.form != scalar {
		d.wantForm(n, p, "one value")
		return
	}
	err := target.UnmarshalText([]byte(n.text))
	var fault *valueError
	switch {
	case errors.As(err, &fault):
		d.want(n, p, fault.want, fault.fix)
	case err != nil:
		d.report.errorAt(n.at, p, "", "%v", err)
	}
}

// wantForm tells that the value is of the wrong sort.
func (d *decoder) wantForm(n *node, p pointer, what string) {
	d.report.errorAt(n.at, p, "", "%s is needed, not %s", what, n.sort())
}

// want tells that the value has the wrong type, and shows it.
func (d *decoder) want(n *node, p pointer, what, fix string) {
	d.report.errorAt(n.at, p, fix, "%s, not %s", what, n)
}

// checkField holds a value that was decoded to what its field's tags allow.
func (d *decoder) checkField(n *node, p pointer, v reflect.Value, f *field) {
	if d.report.blamesInside(p) || n.isNull() {
		return
	}
	switch v.Kind() {
	case reflect.String:
		d.checkEnum(n.at, p, v, f)
	case reflect.Slice:
		for i := range min(v.Len(), len(n.items)) {
			d.checkField(n.items[i], p.index(i), v.Index(i), f)
		}
	case reflect.Float32, reflect.Float64:
		d.checkBounds(n.at, p, v.Float(), f)
	default:
		if v.CanInt() {
			d.checkBounds(n.at, p, float64(v.Int()), f)
		}
	}
}

func (d *decoder) checkEnum(at place, p pointer, v reflect.Value, f *field) {
	for _, allowed := range f.enum {
		if v.String() == allowed {
			return
		}
	}
	if f.enum != nil {
		d.report.errorAt(at, p, choose(v.String(), "one of", f.enum), "%q is not a choice", v.String())
	}
}

func (d *decoder) checkBounds(at place, p pointer, value float64, f *field) {
	switch {
	case math.IsNaN(value) || math.IsInf(value, 0):
		d.report.errorAt(at, p, "", "a finite number is needed")
	case f.min != nil && value < *f.min:
		d.report.errorAt(at, p, fmt.Sprintf("at least %v", *f.min), "%v is too small", value)
	case f.max != nil && value > *f.max:
		d.report.errorAt(at, p, fmt.Sprintf("at most %.0f", *f.max), "%.0f is too large", value)
	}
}
