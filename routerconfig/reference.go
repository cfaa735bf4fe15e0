package routerconfig

import (
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// preface is what stands before the tables of the reference.
const preface = `# Configuration

<!-- Generated from the structs of routerconfig and of the kinds. Do not edit. -->

Waybill runs one YAML file. ` + "`waybill lint`" + ` tells everything that is wrong with it, each fault with line, column and
what to do; ` + "`waybill echo`" + ` prints it with every default filled in.

- **Unknown keys are errors**, and so are values of the wrong type. A key that is there without a value has its default.
- **Variables**: ` + "`${NAME}`" + ` in a value is an environment variable, ` + "`${NAME:default}`" + ` one with a default, which ends at the first
  ` + "`}`" + `. They are expanded after the file was parsed, so no variable changes the file's structure; one that is
  set to nothing is empty text. ` + "`$$`" + ` stands for ` + "`$`" + `.
- **Secrets**: every key whose type says secret has a twin that ends in ` + "`_file`" + ` and names a file to read it from: ` + "`password_file`" + `
  for ` + "`password`" + `, ` + "`url_file`" + ` for ` + "`url`" + `. The line's end after the secret does not count. A relative path starts in the config
  file's folder. Secrets are never printed.
- **Durations** are written ` + "`500ms`, `30s`, `1h30m`, `7d`, `2w`" + `. **Sizes** are written ` + "`64MiB`" + ` (1024 × 1024), ` + "`64MB`" + ` (1000 × 1000),
  or as a number of bytes.
- **Names** of brokers, topics and handlers have 1 to 128 letters, digits, ` + "`.`, `_` and `-`" + `.
- **Paths into messages** are JSON Pointers: ` + "`/order/id`" + `.
- Every value can be given on the command line too: ` + "`--set handlers.prepare.concurrency=4`" + `. The path is keys with dots between,
  or a JSON Pointer; the value is YAML.
`

// Reference is docs/config.md for these kinds: every key of a config, what it
// means, its type and its default. The kinds come last, under the heading
// "## Kinds".
func Reference(kinds pipeline.Kinds) []byte {
	var b strings.Builder
	b.WriteString(preface)
	c := newValue(reflect.TypeFor[config]()).Elem()
	b.WriteString("\n## The file\n\n")
	writeTable(&b, rowsOf(c, ""))
	for _, f := range fieldsOf(c.Type()) {
		if !isSection(c.Type(), &f) {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s Below, `NAME` stands for the name.\n\n", f.key, f.doc)
		writeTable(&b, rowsOf(newValue(f.typ.Elem().Elem()).Elem(), f.key+".NAME."))
	}
	writeKinds(&b, kinds)
	return []byte(b.String())
}

func writeKinds(b *strings.Builder, kinds pipeline.Kinds) {
	if len(kinds.All()) > 0 {
		b.WriteString("\n## Kinds\n\nThe keys of each kind stand under the handler's `with:`.\n")
	}
	for _, kind := range kinds.All() {
		fmt.Fprintf(b, "\n### %s\n\n%s\n", kind.Name, kind.Doc)
		if kind.Effect {
			b.WriteString("\nIt acts on the world: what it does twice has happened twice.\n")
		}
		config := reflect.ValueOf(kind.NewConfig())
		if rows := rowsOf(config.Elem(), ""); len(rows) > 0 {
			b.WriteString("\n")
			writeTable(b, rows)
		}
	}
}

// row is one key in a table.
type row struct{ key, meaning, typ, fallback string }

func writeTable(b *strings.Builder, rows []row) {
	b.WriteString("| Key | Meaning | Type | Default |\n|---|---|---|---|\n")
	cell := strings.NewReplacer("|", `\|`, "\n", " ")
	for _, r := range rows {
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", r.key, cell.Replace(r.meaning), cell.Replace(r.typ), cell.Replace(r.fallback))
	}
}

// isSection says whether the key is one of the file's maps by name, which have
// tables of their own.
func isSection(t reflect.Type, f *field) bool {
	return t == reflect.TypeFor[config]() && f.typ.Kind() == reflect.Map
}

// rowsOf describes the keys of the struct v, which holds the defaults, and of
// the structs in it.
func rowsOf(v reflect.Value, prefix string, inside ...reflect.Type) []row {
	var rows []row
	if v.Kind() != reflect.Struct {
		return nil
	}
	for _, outer := range inside {
		if outer == v.Type() {
			return nil
		}
	}
	inside = append(inside[:len(inside):len(inside)], v.Type())
	for _, f := range fieldsOf(v.Type()) {
		value := v.FieldByIndex(f.index)
		rows = append(rows, newRow(value, prefix, &f))
		if isSection(v.Type(), &f) {
			continue
		}
		if inner, suffix := inner(value); inner.IsValid() {
			rows = append(rows, rowsOf(inner, prefix+f.key+suffix, inside...)...)
		}
	}
	return rows
}

// inner returns the struct that v is or has as elements, and what leads to its
// keys; nothing if there is none that a config describes key by key.
func inner(v reflect.Value) (reflect.Value, string) {
	if isLeaf(v.Type()) {
		return reflect.Value{}, ""
	}
	switch v.Kind() {
	case reflect.Struct:
		return v, "."
	case reflect.Pointer:
		return inner(newValue(v.Type().Elem()).Elem())
	case reflect.Slice, reflect.Map:
		element, suffix := inner(newValue(v.Type().Elem()).Elem())
		step := map[reflect.Kind]string{reflect.Slice: ".N", reflect.Map: ".NAME"}[v.Kind()]
		return element, step + suffix
	}
	return reflect.Value{}, ""
}

// isLeaf says whether the type reads itself from one value.
func isLeaf(t reflect.Type) bool {
	return implements[yamlUnmarshaler](t) || implements[encoding.TextUnmarshaler](t) || t == reflect.TypeFor[refused]()
}

func newRow(v reflect.Value, prefix string, f *field) row {
	r := row{key: prefix + f.key, meaning: f.doc, typ: typeText(f.typ, f), fallback: f.fallback}
	if f.later != "" {
		r.meaning += " **Refused in this release**: " + f.later + "."
		r.typ = ""
	}
	if f.fallback == "" {
		r.fallback = defaultText(defaultOf(v, f))
	}
	return r
}

func defaultText(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		if value == "" {
			return ""
		}
		if !strings.ContainsAny(value, "\n`") {
			return "`" + value + "`"
		}
	}
	text, err := json.Marshal(value)
	if err != nil || string(text) == "[]" || string(text) == "{}" {
		return ""
	}
	return "`" + string(text) + "`"
}

// typeText says in words what a key's value is.
func typeText(t reflect.Type, f *field) string {
	switch {
	case f.typeText != "":
		return f.typeText
	case isSecret(t):
		return "text, secret"
	case t == reflect.TypeFor[time.Duration]():
		return "duration"
	case implements[encoding.TextUnmarshaler](t):
		return "text"
	case implements[yamlUnmarshaler](t):
		return "any"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return typeText(t.Elem(), f)
	case reflect.Slice:
		return "list of " + typeText(t.Elem(), f)
	case reflect.Map:
		return "map of " + typeText(t.Elem(), f)
	case reflect.Struct:
		return "keys"
	case reflect.Interface:
		return "any"
	case reflect.Bool:
		return "true, false"
	case reflect.String:
		if f.enum != nil {
			return "`" + strings.Join(f.enum, "`, `") + "`"
		}
		return "text"
	case reflect.Float32, reflect.Float64:
		return "number" + boundsText(f)
	}
	return "whole number" + boundsText(f)
}

func boundsText(f *field) string {
	switch {
	case f.min != nil && f.max != nil:
		return fmt.Sprintf(", %.0f to %.0f", *f.min, *f.max)
	case f.min != nil:
		return fmt.Sprintf(", at least %v", *f.min)
	case f.max != nil:
		return fmt.Sprintf(", at most %.0f", *f.max)
	}
	return ""
}
