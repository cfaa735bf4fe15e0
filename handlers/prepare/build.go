package prepare

import (
	"slices"

	"github.com/waybill-dev/waybill/pipeline"
)

// jobOverhead is about what our members add to a job, without the order's
// id, the source quantity, the component and the stages.
const jobOverhead = 128

// build writes the order with the planned jobs in place of its lines.
func (w *workspace) build() ([]byte, error) {
	if err := w.needID(); err != nil {
		return nil, err
	}
	size, err := w.measure()
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, size)
	done := 0
	for i := range w.plans {
		l := &w.plans[i]
		out = append(out, w.order[done:l.span.Start]...) // the bracket or comma before it, and spaces
		if out, err = w.appendJobs(out, l); err != nil {
			return nil, err
		}
		done = l.span.End
	}
	return append(out, w.order[done:]...), nil
}

// needID refuses an order without an id, if a line needs one for its jobs.
func (w *workspace) needID() error {
	if !slices.ContainsFunc(w.plans, func(l plan) bool { return l.split }) {
		return nil
	}
	if err := w.p.orderID.finish(&w.id, w.order, 0); err != nil {
		return err
	}
	if len(w.idText()) == 0 {
		return pipeline.Invalid("the order has no id, a text or a number, at any of %q: name its path under order_id", w.p.config.OrderID)
	}
	return nil
}

// idText returns what of the order's id goes into job ids.
func (w *workspace) idText() []byte { return idText(w.id.value.Of(w.order)) }

// idText returns the text of an id: a number as it is written, a string
// between its quotes with its escapes, nothing of other values.
func idText(raw []byte) []byte {
	switch {
	case len(raw) == 0:
		return nil
	case raw[0] == '"':
		return raw[1 : len(raw)-1]
	case raw[0] == '-' || raw[0] >= '0' && raw[0] <= '9':
		return raw
	}
	return nil
}

// measure returns about the size of the output, and refuses to write what is
// too large. MaxJobs keeps the numbers small.
func (w *workspace) measure() (int, error) {
	extra := jobOverhead + len(w.idText()) + w.p.widestStages
	size := len(w.order)
	for i := range w.plans {
		l := &w.plans[i]
		line := l.span.End - l.span.Start
		job := line + extra
		if l.bundle() {
			job += line // for the component
		}
		size += l.jobs*job - line
		if size > w.p.config.MaxOutput {
			return 0, pipeline.Invalid("order line %d: the order would become more than %d bytes", l.number, w.p.config.MaxOutput)
		}
	}
	return size, nil
}

// appendJobs writes the jobs of one line.
func (w *workspace) appendJobs(out []byte, l *plan) (_ []byte, err error) {
	if !l.split && l.stages == stagesKept {
		return append(out, l.span.Of(w.order)...), nil
	}
	if err := w.makeTemplate(l); err != nil {
		return nil, err
	}
	components := w.componentsOf(l)
	for number := 1; number <= l.jobs; number++ {
		if number > 1 {
			out = append(out, ',')
		}
		j := job{number: number, component: components.at(number), stages: l.list}
		if l.stages == stagesOpen {
			if j.stages, err = w.stagesOf(out, l, j); err != nil {
				return nil, err
			}
		}
		out = w.template.write(out, l, j)
	}
	return out, nil
}
