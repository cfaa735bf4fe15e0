package routerconfig

import (
	"encoding"
	"reflect"
	"time"
)

// encoder writes Go values as decoder reads them: with the keys of the yaml
// tags, in the structs' order, and secrets hidden or as their files.
type encoder struct{ files map[pointer]string }

type yamlMarshaler interface{ MarshalYAML() (any, error) }

// yaml is the value, which stands at p, as a YAML document.
func (e encoder) yaml(v any, p pointer) []byte {
	var out emitter
	out.block(e.value(reflect.ValueOf(v), p), 0)
	return out.Bytes()
}

// value returns v, which stands at p, in types that need no tags.
func (e encoder) value(v reflect.Value, p pointer) any {
	if !v.IsValid() || v.Kind() == reflect.Pointer && v.IsNil() {
		return nil
	}
	if d, ok := v.Interface().(time.Duration); ok {
		return formatDuration(d)
	}
	if out, ok := e.custom(v, p); ok {
		return out
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		return e.value(v.Elem(), p)
	case reflect.Struct:
		return e.structure(v, p)
	case reflect.Map:
		return e.mapping(v, p)
	case reflect.Slice, reflect.Array:
		out := make([]any, v.Len())
		for i := range out {
			out[i] = e.value(v.Index(i), p.index(i))
		}
		return out
	case reflect.String:
		return escape(v.String())
	}
	return v.Interface()
}

// custom lets a type write itself.
func (e encoder) custom(v reflect.Value, p pointer) (any, bool) {
	if v.CanAddr() {
		v = v.Addr()
	}
	if m, ok := v.Interface().(yamlMarshaler); ok {
		if out, err := m.MarshalYAML(); err == nil {
			return e.value(reflect.ValueOf(out), p), true
		}
	}
	if m, ok := v.Interface().(encoding.TextMarshaler); ok {
		if text, err := m.MarshalText(); err == nil {
			return escape(string(text)), true
		}
	}
	return nil, false
}

// structure leaves out what reads back as it is: null, and zero values of keys
// with omitempty.
func (e encoder) structure(v reflect.Value, p pointer) pairs {
	out := pairs{}
	for _, f := range fieldsOf(v.Type()) {
		value := v.FieldByIndex(f.index)
		if f.later != "" || isNil(value) || f.omitEmpty && value.IsZero() {
			continue
		}
		if path, ok := e.files[p.key(f.key)]; ok {
			out = append(out, pair{f.key + secretFileSuffix, escape(path)})
			continue
		}
		if encoded := e.value(value, p.key(f.key)); encoded != nil {
			out = append(out, pair{f.key, encoded})
		}
	}
	return out
}

func (e encoder) mapping(v reflect.Value, p pointer) pairs {
	out := pairs{}
	byName := map[string]reflect.Value{}
	for _, key := range v.MapKeys() {
		byName[key.String()] = v.MapIndex(key)
	}
	for _, name := range sorted(byName) {
		out = append(out, pair{name, e.value(byName[name], p.key(name))})
	}
	return out
}

func isNil(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice, reflect.Interface:
		return v.IsNil()
	}
	return false
}
