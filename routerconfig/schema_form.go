package routerconfig

import (
	"encoding/json"
	"strconv"

	"github.com/invopop/jsonschema"
)

// The schemas of single values, and of the types of ours that have a form of
// their own.

func enumSchema(enum []string) *jsonschema.Schema {
	if enum == nil {
		return &jsonschema.Schema{Type: "string"}
	}
	out := &jsonschema.Schema{}
	for _, value := range enum {
		out.Enum = append(out.Enum, value)
	}
	return orVariable(out)
}

func numberSchema(name string, f *field) *jsonschema.Schema {
	out := &jsonschema.Schema{Type: name}
	if f.min != nil {
		out.Minimum = json.Number(strconv.FormatFloat(*f.min, 'f', -1, 64))
	}
	if f.max != nil {
		out.Maximum = json.Number(strconv.FormatFloat(*f.max, 'f', -1, 64))
	}
	return orVariable(out)
}

// orVariable also allows text with a variable: what it is expanded to is not
// known to a schema.
func orVariable(s *jsonschema.Schema) *jsonschema.Schema {
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{s, {Type: "string", Pattern: `\$\{`}}}
}

// typesSchema allows values of any of the types.
func typesSchema(names ...string) *jsonschema.Schema {
	out := &jsonschema.Schema{}
	for _, name := range names {
		out.AnyOf = append(out.AnyOf, &jsonschema.Schema{Type: name})
	}
	return out
}

// textSchema allows text that fits the pattern from end to end.
func textSchema(pattern string) *jsonschema.Schema {
	return orVariable(&jsonschema.Schema{Type: "string", Pattern: "^(" + pattern + ")$"})
}

const (
	durationPattern = `0|([0-9]+w)?([0-9]+d)?([0-9.]+(ns|us|µs|ms|s|m|h))*`
	sizePattern     = `[0-9]+ ?([KMGT]i?B|B)?`
)

func durationSchema() *jsonschema.Schema {
	out := textSchema(durationPattern)
	out.AnyOf = append(out.AnyOf, &jsonschema.Schema{Const: 0})
	return out
}

// JSONSchema is a number of bytes, or one with a unit.
func (size) JSONSchema() *jsonschema.Schema {
	out := textSchema(sizePattern)
	out.AnyOf = append(out.AnyOf, &jsonschema.Schema{Type: "integer", Minimum: "0"})
	return out
}

// JSONSchema is a size or the word.
func (limit) JSONSchema() *jsonschema.Schema {
	out := size(0).JSONSchema()
	out.AnyOf = append(out.AnyOf, &jsonschema.Schema{Const: unlimited})
	return out
}

// JSONSchema is a duration or the word.
func (age) JSONSchema() *jsonschema.Schema {
	out := durationSchema()
	out.AnyOf = append(out.AnyOf, &jsonschema.Schema{Const: forever})
	return out
}

// JSONSchema is one of the words or a time.
func (start) JSONSchema() *jsonschema.Schema {
	return textSchema(`oldest|newest|[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9:.]+([Zz]|[+-][0-9]{2}:[0-9]{2})`)
}

// JSONSchema is one of the words or sample with its share.
func (logMode) JSONSchema() *jsonschema.Schema {
	return textSchema(`all|failures|off|sample\([0-9.]+\)`)
}

// JSONSchema is a text or a list of them.
func (keys) JSONSchema() *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, {Type: "array", Items: text}}}
}

// JSONSchema is a topic or a map of them.
func (outputs) JSONSchema() *jsonschema.Schema {
	text := &jsonschema.Schema{Type: "string"}
	return &jsonschema.Schema{AnyOf: []*jsonschema.Schema{text, {Type: "object", AdditionalProperties: text}}}
}

// JSONSchema allows anything: $defs/kinds says what it is.
func (kindConfig) JSONSchema() *jsonschema.Schema { return &jsonschema.Schema{} }
