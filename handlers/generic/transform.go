package generic

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// Transform is an edit of many messages by one expression, in one of two
// forms.
//
//	{"orderId": payload.id, "total": payload.total}
//	/address/zip = replace(payload.address.zip, " ", "")
//
// The value of the first becomes the payload, as JSON. That of the second takes
// the place of the value at the JSON Pointer, and every other byte stays. It may
// be used by many goroutines at once.
type Transform struct {
	path  string // "": the whole payload
	value *rule.Program
}

// CompileTransform compiles one.
func CompileTransform(source string) (*Transform, error) {
	t, expression := &Transform{}, source
	if path, after, found := strings.Cut(source, "="); strings.HasPrefix(strings.TrimSpace(path), "/") {
		if t.path, expression = strings.TrimSpace(path), after; !found {
			return nil, fmt.Errorf("%q: write /pointer = expression", source)
		}
		if err := pointer.Check(t.path); err != nil {
			return nil, err
		}
	}
	var err error
	t.value, err = view.Compile(strings.TrimSpace(expression))
	return t, err
}

// Payload returns what the payload becomes, and leaves the one that it is given
// alone. An error says that the expression fails on it, or that it has no value
// at the pointer.
func (t *Transform) Payload(meta map[string]string, payload []byte) ([]byte, error) {
	value, err := view.Of(pipeline.NewMessage("", payload, meta)).Eval(t.value)
	if err != nil {
		return nil, err
	}
	raw, err := encode(t.value, value)
	if err != nil || t.path == "" {
		return raw, err
	}
	span, ok, err := pointer.Find(payload, t.path)
	if err != nil {
		return nil, pipeline.Invalid("find %s: %w", t.path, err)
	}
	if !ok {
		return nil, pipeline.Invalid("the payload has no value at %s", t.path)
	}
	return slices.Concat(payload[:span.Start], raw, payload[span.End:]), nil
}
