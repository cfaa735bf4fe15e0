package routerconfig_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/routerconfig"
)

const (
	referenceFile = "../docs/config.md"
	schemaFile    = "../docs/schema.json"
	kindsHeading  = "\n## Kinds\n"
)

// TestReference_UpToDate holds docs/config.md, up to the kinds, to the
// structs. The part about the kinds is the business of who knows the kinds.
func TestReference_UpToDate(t *testing.T) {
	t.Parallel()
	want := string(routerconfig.Reference(pipeline.Kinds{}))
	text, err := os.ReadFile(referenceFile)
	if !*update {
		require.NoError(t, err)
	}
	got, kinds, _ := strings.Cut(string(text), kindsHeading)
	if *update && got != want {
		if kinds != "" {
			kinds = kindsHeading + kinds
		}
		require.NoError(t, os.WriteFile(referenceFile, []byte(want+kinds), 0o644))
		return
	}
	require.Equal(t, want, got, "go test ./routerconfig -update")
}

// TestSchema_UpToDate is the same for docs/schema.json, without $defs/kinds.
func TestSchema_UpToDate(t *testing.T) {
	t.Parallel()
	want := routerconfig.Schema(pipeline.Kinds{})
	text, err := os.ReadFile(schemaFile)
	if *update && (err != nil || !bytes.Equal(withoutKinds(t, text), withoutKinds(t, want))) {
		require.NoError(t, os.WriteFile(schemaFile, want, 0o644))
		return
	}
	require.NoError(t, err)
	require.JSONEq(t, string(withoutKinds(t, want)), string(withoutKinds(t, text)), "go test ./routerconfig -update")
}

func withoutKinds(t *testing.T, schema []byte) []byte {
	t.Helper()
	var doc map[string]any
	require.NoError(t, json.Unmarshal(schema, &doc))
	delete(doc, "$defs")
	out, err := json.Marshal(doc)
	require.NoError(t, err)
	return out
}

// TestReference_Kinds: the kinds stand at the end, with all their keys.
func TestReference_Kinds(t *testing.T) {
	t.Parallel()
	text := string(routerconfig.Reference(testKinds()))
	require.True(t, strings.HasPrefix(text, string(routerconfig.Reference(pipeline.Kinds{}))+kindsHeading))
	for _, want := range []string{
		"### copy\n\nPasses messages on.\n\n### cut\n",
		"| `lines` | What to do without lines. | `pass`, `refuse` | `pass` |\n",
		"| `rules.N.wait` | How long. | duration | `1s` |\n",
		"| `limit` | At most so many. | whole number, at least 1 |  |\n",
		"| `exact` | A number as it is written. | text |  |\n",
		"| `quiet` | Says less. | true, false | `false` |\n",
		"| `names` | The outputs. | list of text | `[\"left\",\"right\"]` |\n",
		"| `token` | Who we are. | text, secret |  |\n",
		"| `headers` | Sent with every call. | map of text |  |\n",
		"It acts on the world",
	} {
		require.Contains(t, text, want)
	}
	require.NotContains(t, text, "`hidden`")
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(routerconfig.Schema(testKinds())))
	require.NoError(t, err)
	compiler := jsonschema.NewCompiler()
	require.NoError(t, compiler.AddResource("schema.json", doc))
	schema, err := compiler.Compile("schema.json")
	require.NoError(t, err)
	return schema
}

// readJSON is a YAML file as a schema sees it.
func readJSON(t *testing.T, path string) any {
	t.Helper()
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	text, err = yaml.YAMLToJSON(text)
	require.NoError(t, err)
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	require.NoError(t, err)
	return doc
}

// TestSchema_Good: what loads fits the schema, before and after echo.
func TestSchema_Good(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for _, pattern := range []string{"good.*.yaml", "good.*.want", "warn.*.yaml"} {
		eachFile(t, pattern, func(t *testing.T, path string) {
			require.NoError(t, schema.Validate(readJSON(t, path)))
		})
	}
}

// TestSchema_Bad: what a single key can tell, the schema tells too.
func TestSchema_Bad(t *testing.T) {
	t.Parallel()
	schema := compileSchema(t)
	for _, fault := range []string{
		"bounds", "delayed", "driver", "durations", "enums", "http_listen", "list", "misspelt_required", "no_brokers",
		"sizes", "start", "types", "unknown_key", "unknown_kind", "with",
	} {
		t.Run(fault, func(t *testing.T) {
			t.Parallel()
			require.Error(t, schema.Validate(readJSON(t, "testdata/bad."+fault+".yaml")))
		})
	}
}
