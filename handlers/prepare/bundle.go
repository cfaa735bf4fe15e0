package prepare

import "github.com/waybill-dev/waybill/pipeline/pointer"

// bundle walks over the components of a line, as many jobs on each as the
// line has units.
type bundle struct {
	cursor  pointer.Cursor
	line    []byte
	units   int // jobs a component
	current int // the component that the cursor is at, from 1
}

// componentsOf returns the components of a line; of a line that is no bundle,
// none.
func (w *workspace) componentsOf(l *plan) *bundle {
	if !l.bundle() {
		return nil
	}
	b := &bundle{line: l.span.Of(w.order), units: 1}
	if l.count.sort == wholeCount {
		b.units = int(l.count.units)
	}
	if list, ok, err := pointer.Find(b.line, l.rule.Components); ok && err == nil {
		b.cursor = pointer.Open(b.line, list.Start)
	}
	return b
}

// at returns the component of a job, from 1. Jobs are asked for in order.
func (b *bundle) at(job int) []byte {
	if b == nil {
		return nil
	}
	for b.current*b.units < job && b.cursor.Next() {
		b.current++
	}
	return b.cursor.Value().Of(b.line)
}
