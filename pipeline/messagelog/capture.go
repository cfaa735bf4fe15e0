package messagelog

import (
	"context"
	"log/slog"
	"slices"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Capture returns a handler that passes records on to next and, where their
// context is that of a message that is being handled, puts them into its log,
// from level debug on whatever next shows. Logger names and goroutines mean
// nothing; the context is what says whose a line is.
func Capture(next slog.Handler) slog.Handler { return capture{next: next} }

// capture is a slog.Handler. Attributes of With are kept as they were given,
// under the names of the groups that were open then.
type capture struct {
	next  slog.Handler
	attrs []slog.Attr
	group string // of what is still to come: "a.b."
}

func handlingOf(ctx context.Context) *Handling {
	h, _ := pipeline.OutcomeOf(ctx).Witness.(*Handling)
	return h
}

// Enabled implements slog.Handler.
func (c capture) Enabled(ctx context.Context, level slog.Level) bool {
	return c.next.Enabled(ctx, level) || level >= slog.LevelDebug && handlingOf(ctx) != nil
}

// Handle implements slog.Handler.
func (c capture) Handle(ctx context.Context, r slog.Record) error {
	if h := handlingOf(ctx); h != nil && r.Level >= slog.LevelDebug {
		h.note(c.line(r))
	}
	if !c.next.Enabled(ctx, r.Level) {
		return nil
	}
	return c.next.Handle(ctx, r)
}

// line returns the record as a line, and how many bytes it takes.
func (c capture) line(r slog.Record) (line store.LogLine, size int) {
	line = store.LogLine{At: r.Time, Level: r.Level.String(), Text: clip(r.Message)}
	size = len(line.Text)
	add := func(group string, attr slog.Attr) {
		flatten(group, attr, func(name, value string) {
			if line.Attrs == nil {
				line.Attrs = make(map[string]string, len(c.attrs)+r.NumAttrs())
			}
			line.Attrs[name] = clip(value)
			size += len(name) + len(line.Attrs[name])
		})
	}
	for _, attr := range c.attrs {
		add("", attr)
	}
	r.Attrs(func(attr slog.Attr) bool {
		add(c.group, attr)
		return true
	})
	return line, size
}

// flatten gives each value in attr with its whole name.
func flatten(group string, attr slog.Attr, each func(name, value string)) {
	value := attr.Value.Resolve()
	switch {
	case value.Kind() != slog.KindGroup:
		if attr.Key != "" {
			each(group+attr.Key, value.String())
		}
	case attr.Key == "": // a group without a name is no group
		for _, inner := range value.Group() {
			flatten(group, inner, each)
		}
	default:
		for _, inner := range value.Group() {
			flatten(group+attr.Key+".", inner, each)
		}
	}
}

// WithAttrs implements slog.Handler.
func (c capture) WithAttrs(attrs []slog.Attr) slog.Handler {
	c.next = c.next.WithAttrs(attrs)
	c.attrs = slices.Clone(c.attrs)
	for _, attr := range attrs {
		flatten(c.group, attr, func(name, value string) { c.attrs = append(c.attrs, slog.String(name, value)) })
	}
	return c
}

// WithGroup implements slog.Handler.
func (c capture) WithGroup(name string) slog.Handler {
	c.next = c.next.WithGroup(name)
	if name != "" {
		c.group += name + "."
	}
	return c
}
