package routerconfig

import (
	"encoding"
	"encoding/json"
	"reflect"
	"time"

	"github.com/invopop/jsonschema"

	"github.com/waybill-dev/waybill/pipeline"
)

// Schema is the JSON Schema (draft 2020-12) of a config file for these kinds,
// for editors and other tools. It holds what single keys must look like; Load
// knows further rules. What hangs on the kinds is under $defs/kinds.
func Schema(kinds pipeline.Kinds) []byte {
	c := newValue(reflect.TypeFor[config]()).Elem()
	root := schemer{}.structure(c)
	root.Version = jsonschema.Version
	root.Title = "Waybill config"
	root.Definitions = jsonschema.Definitions{"kinds": kindsSchema(kinds)}
	text, err := json.MarshalIndent(root, "", "  ")
	if err != nil {
		// Nothing in a schema of ours is beyond JSON.
		panic(err)
	}
	return append(text, '\n')
}

// kindsSchema ties `with:` to `kind:`.
func kindsSchema(kinds pipeline.Kinds) *jsonschema.Schema {
	all := kinds.All()
	if len(all) == 0 {
		return jsonschema.TrueSchema
	}
	var (
		names    []any
		branches []*jsonschema.Schema
	)
	for _, kind := range all {
		names = append(names, kind.Name)
		with := schemer{}.value(reflect.ValueOf(kind.NewConfig()).Elem(), nil)
		with.Description = kind.Doc
		is := having("kind", &jsonschema.Schema{Const: kind.Name})
		is.Required = []string{"kind"}
		branches = append(branches, &jsonschema.Schema{If: is, Then: having("with", with)})
	}
	out := having("kind", &jsonschema.Schema{Enum: names})
	out.AllOf = branches
	return out
}

// having is the schema of objects whose value at key fits s.
func having(key string, s *jsonschema.Schema) *jsonschema.Schema {
	out := &jsonschema.Schema{Properties: jsonschema.NewProperties()}
	out.Properties.Set(key, s)
	return out
}

// schemer makes schemas of Go values, whose contents are the defaults. It
// holds the struct types that it is inside of: one that holds itself again is
// not described twice.
type schemer []reflect.Type

// value returns the schema of v, with what the tags of its field say.
func (s schemer) value(v reflect.Value, f *field) *jsonschema.Schema {
	if f == nil {
		f = &field{}
	}
	if own, ok := reflect.New(v.Type()).Interface().(interface {
		JSONSchema() *jsonschema.Schema
	}); ok {
		return own.JSONSchema()
	}
	switch {
	case isSecret(v.Type()):
		return &jsonschema.Schema{Type: "string"}
	case v.Type() == reflect.TypeFor[time.Duration]():
		return durationSchema()
	case implements[yamlUnmarshaler](v.Type()):
		return &jsonschema.Schema{}
	case implements[encoding.TextUnmarshaler](v.Type()):
		return typesSchema("string", "number", "boolean")
	}
	return s.plain(v, f)
}

// plain returns the schema by v's kind.
func (s schemer) plain(v reflect.Value, f *field) *jsonschema.Schema {
	switch v.Kind() {
	case reflect.Struct:
		return s.structure(v)
	case reflect.Map:
		element := s.value(newValue(v.Type().Elem()).Elem(), f)
		return &jsonschema.Schema{Type: "object", AdditionalProperties: element}
	case reflect.Slice:
		return &jsonschema.Schema{Type: "array", Items: s.value(newValue(v.Type().Elem()).Elem(), f)}
	case reflect.Pointer:
		inner := v
		if v.IsNil() {
			inner = newValue(v.Type().Elem())
		}
		return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s.value(inner.Elem(), f), {Type: "null"}}}
	case reflect.String:
		return enumSchema(f.enum)
	case reflect.Bool:
		return orVariable(&jsonschema.Schema{Type: "boolean"})
	case reflect.Interface:
		return &jsonschema.Schema{}
	case reflect.Float32, reflect.Float64:
		return numberSchema("number", f)
	}
	return numberSchema("integer", f)
}

func (s schemer) structure(v reflect.Value) *jsonschema.Schema {
	for _, outer := range s {
		if outer == v.Type() {
			return &jsonschema.Schema{Type: "object"}
		}
	}
	s = append(s[:len(s):len(s)], v.Type())
	out := &jsonschema.Schema{Type: "object", AdditionalProperties: jsonschema.FalseSchema, Properties: jsonschema.NewProperties()}
	for _, f := range fieldsOf(v.Type()) {
		value := v.FieldByIndex(f.index)
		out.Properties.Set(f.key, s.field(value, &f))
		if isSecret(f.typ) {
			out.Properties.Set(f.key+secretFileSuffix, &jsonschema.Schema{Type: "string", Description: secretFileDoc(f.key)})
		}
		if f.fallback == required {
			out.Required = append(out.Required, f.key)
		}
	}
	if v.Type() == reflect.TypeFor[handlerConfig]() {
		out.AllOf = []*jsonschema.Schema{{Ref: "#/$defs/kinds"}}
	}
	return out
}

func (s schemer) field(v reflect.Value, f *field) *jsonschema.Schema {
	if f.later != "" {
		return &jsonschema.Schema{Not: &jsonschema.Schema{}, Description: f.doc + " Refused: " + f.later + "."}
	}
	out := *s.value(v, f)
	out.Description = f.doc
	switch text := defaultOf(v, f); {
	case f.fallback == required:
	case f.fallback != "":
		out.Description += " Default: " + f.fallback + "."
	default:
		out.Default = text
	}
	return &out
}

// required stands in the default tag of keys without a default.
const required = "(required)"

func secretFileDoc(key string) string { return "File that holds " + key + ", in its place." }

// defaultOf is the default that v holds, as echo writes it, or nil.
func defaultOf(v reflect.Value, f *field) any {
	if f.omitEmpty && v.IsZero() || isNil(v) || v.Kind() == reflect.Struct && !implements[encoding.TextMarshaler](v.Type()) {
		return nil
	}
	return encoder{}.value(v, "")
}

func implements[T any](t reflect.Type) bool {
	_, ok := reflect.New(t).Interface().(T)
	return ok
}
