package routerconfig

import (
	"reflect"
	"strconv"
	"strings"

	"github.com/waybill-dev/waybill/pipeline"
)

// field is one key of a config struct, read from the field's tags:
//
//	yaml     the key; ",omitempty" leaves it out of echo where it is zero,
//	         ",inline" takes the keys of a struct into the outer one
//	doc      what it means, for the reference and the schema
//	default  the default in words, where the value alone does not say it
//	type     the type in words, likewise
//	enum     the only values, with | between
//	min, max the bounds of a number
//	later    why the key is refused in this release
type field struct {
	key, doc, fallback, typeText, later string

	enum      []string
	min, max  *float64
	omitEmpty bool
	typ       reflect.Type
	index     []int // for reflect's FieldByIndex
}

// fieldsOf lists the keys of a struct type in its order.
func fieldsOf(t reflect.Type) []field {
	var fields []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, options, _ := strings.Cut(f.Tag.Get("yaml"), ",")
		switch {
		case key == "-" || !f.IsExported() && !f.Anonymous:
		case strings.Contains(options, "inline") || f.Anonymous && key == "":
			for _, inner := range fieldsOf(f.Type) {
				inner.index = append([]int{i}, inner.index...)
				fields = append(fields, inner)
			}
		default:
			fields = append(fields, newField(f, key, strings.Contains(options, "omitempty")))
		}
	}
	return fields
}

func newField(f reflect.StructField, key string, omitEmpty bool) field {
	if key == "" {
		key = strings.ToLower(f.Name)
	}
	out := field{
		key: key, doc: f.Tag.Get("doc"), fallback: f.Tag.Get("default"),
		typeText: f.Tag.Get("type"), later: f.Tag.Get("later"),
		min: bound(f, "min"), max: bound(f, "max"),
		omitEmpty: omitEmpty, typ: f.Type, index: f.Index,
	}
	if values, ok := f.Tag.Lookup("enum"); ok {
		out.enum = strings.Split(values, "|")
	}
	return out
}

func bound(f reflect.StructField, tag string) *float64 {
	if value, err := strconv.ParseFloat(f.Tag.Get(tag), 64); err == nil {
		return &value
	}
	return nil
}

// findField returns the field with that key, or nil.
func findField(fields []field, key string) *field {
	for i := range fields {
		if fields[i].key == key {
			return &fields[i]
		}
	}
	return nil
}

// secretFileField returns the secret whose file the key names: every key of a
// secret has a twin with _file at the end. Nil if key is no such twin.
func secretFileField(fields []field, key string) *field {
	base, ok := strings.CutSuffix(key, secretFileSuffix)
	if !ok {
		return nil
	}
	if f := findField(fields, base); f != nil && isSecret(f.typ) {
		return f
	}
	return nil
}

const secretFileSuffix = "_file"

var (
	secretType = reflect.TypeFor[pipeline.Secret]()
	serverType = reflect.TypeFor[serverURL]()
)

// isSecret says whether values of the type must not be shown.
func isSecret(t reflect.Type) bool { return t == secretType || t == serverType }

// defaulter is what elements of lists and maps, and what pointers point to,
// may implement: SetDefaults is called before the file's keys are set.
type defaulter interface{ SetDefaults() }

// newValue returns a pointer to a new value of the type with its defaults.
func newValue(t reflect.Type) reflect.Value {
	v := reflect.New(t)
	if d, ok := v.Interface().(defaulter); ok {
		d.SetDefaults()
	}
	return v
}
