package handlers_test

import (
	"reflect"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestBuiltin(t *testing.T) {
	t.Parallel()
	var names, effects []string
	for _, kind := range handlers.Builtin().All() {
		names = append(names, kind.Name)
		if kind.Effect {
			effects = append(effects, kind.Name)
		}
	}
	require.Equal(t, []string{
		"call_http", "filter", "map", "notify", "prepare_order", "process_order", "route", "send_email", "track_stages",
	}, names)
	require.Equal(t, []string{"call_http", "send_email"}, effects)
}

// Every kind and every key of its config says what it is, for the generated
// reference.
func TestBuiltin_IsDocumented(t *testing.T) {
	t.Parallel()
	for _, kind := range handlers.Builtin().All() {
		require.Regexp(t, `^[A-Z].*\.$`, kind.Doc, kind.Name)
		requireDocs(t, kind.Name, reflect.TypeOf(kind.NewConfig()))
	}
}

func requireDocs(t *testing.T, at string, typ reflect.Type) {
	t.Helper()
	switch typ.Kind() {
	case reflect.Pointer, reflect.Slice, reflect.Map:
		requireDocs(t, at, typ.Elem())
	case reflect.Struct:
		for i := range typ.NumField() {
			field := typ.Field(i)
			key, options, _ := strings.Cut(field.Tag.Get("yaml"), ",")
			if field.IsExported() && key != "-" && !strings.Contains(options, "inline") {
				require.Regexp(t, `^[a-z][a-z0-9_]*$`, key, "%s: %s", at, field.Name)
				require.NotEmpty(t, field.Tag.Get("doc"), "%s.%s", at, key)
			}
			requireDocs(t, at+"."+key, field.Type)
		}
	}
}

// A second kind of a name that is taken is a fault of the program.
func TestBuiltin_WithATakenName(t *testing.T) {
	t.Parallel()
	taken, found := handlers.Builtin().Get("map")
	require.True(t, found)
	require.Panics(t, func() { handlers.Builtin().With(taken) })
	require.NotPanics(t, func() {
		handlers.Builtin().With(pipeline.Kind{Name: "mine", NewConfig: taken.NewConfig, New: taken.New})
	})
}
