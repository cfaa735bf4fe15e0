package prepare

import (
	"fmt"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// The members that a job has beyond its line's.
const (
	memberID = iota
	memberLine
	memberJob
	memberCount
	memberSource
	memberComponent
	memberStages
	memberKinds
)

var memberNames = [memberKinds]string{
	"job_id", "line_no", "job_no", "job_count", "source_quantity", "component", "completion_stages",
}

// memberKeys are the names as they are written before a value.
var memberKeys = func() (keys [memberKinds]string) {
	for member, name := range memberNames {
		keys[member] = `"` + name + `":`
	}
	return keys
}()

// plan says what becomes of one line. Spans count from the order's start.
type plan struct {
	number   int // of the line, from 1
	span     pointer.Span
	last     int                       // end of the last member's value; after the brace if there is none
	came     uint8                     // our members that the line came with, a bit each
	present  [memberKinds]pointer.Span // and where
	quantity choice
	count    count
	split    bool       // it becomes jobs; false if it is one already
	rule     *splitRule // of a line to split; nil: it is left whole
	jobs     int
	stages   stagePlan
	list     []byte // the stages of all its jobs, for stagesKnown
}

func (l *plan) has(member int) bool { return l.came&(1<<member) != 0 }

// read walks once over the order and makes a plan for every line. shape is
// not nil if the lines are not the objects of an array.
func (w *workspace) read() (shape *shapeError, err error) {
	found := w.do == (steps{}) // or it does not matter
	c := pointer.Open(w.order, 0)
	for c.Next() {
		name := c.DecodedName()
		isLines := string(name) == linesName
		if !w.top.add(name, nil) && (isLines || !w.p.config.Lenient) {
			return nil, pipeline.Invalid("the order has the member %s twice", c.Name.Of(w.order))
		}
		switch {
		case w.do == (steps{}):
		case isLines:
			found = true
			if shape, err = w.readLines(&c); err != nil {
				return nil, err
			}
		case w.do.split && len(idText(c.Value().Of(w.order))) > 0:
			w.p.orderID.offer(&w.id, name, &c)
		}
	}
	if !found {
		shape = &shapeError{err: pipeline.Invalid("the order has no %s", linesName), missing: true}
	}
	if err := c.Err(); err != nil {
		return nil, w.invalid(err)
	}
	if c.End() != len(w.order) {
		return nil, w.invalid(fmt.Errorf("something follows it at offset %d", c.End()))
	}
	return shape, nil
}

// readLines makes the plans of the array that top is at. It refuses an order
// that would become too many jobs as soon as that is known.
func (w *workspace) readLines(top *pointer.Cursor) (*shapeError, error) {
	c := top.Enter()
	if !c.IsArray() {
		return &shapeError{err: pipeline.Invalid("%s is not an array", linesName)}, nil
	}
	for c.Next() {
		w.plans = append(w.plans, plan{number: len(w.plans) + 1, jobs: 1})
		l := &w.plans[len(w.plans)-1]
		if shape, err := w.readLine(l, &c); shape != nil || err != nil {
			return shape, err
		}
		if err := w.decide(l); err != nil {
			return nil, err
		}
		if l.jobs > w.p.config.MaxJobs-w.jobs {
			return nil, pipeline.Invalid("order line %d: the order would become more than %d jobs", l.number, w.p.config.MaxJobs)
		}
		w.jobs += l.jobs
	}
	top.Leave(&c)
	return nil, w.invalid(c.Err())
}

// readLine finds the members of the line that array is at.
func (w *workspace) readLine(l *plan, array *pointer.Cursor) (*shapeError, error) {
	c := array.Enter()
	if !c.IsObject() {
		return &shapeError{err: pipeline.Invalid("order line %d: not an object", l.number)}, nil
	}
	w.line.reset()
	for c.Next() {
		name, value := c.DecodedName(), c.Value()
		if !w.line.add(name, value.Of(w.order)) {
			return nil, pipeline.Invalid("order line %d: the member %s is there twice", l.number, c.Name.Of(w.order))
		}
		if member := memberOf(name); member >= 0 {
			l.came |= 1 << member
			l.present[member] = value
		}
		w.p.quantity.offer(&l.quantity, name, &c)
		l.last = value.End
	}
	array.Leave(&c)
	l.span = array.Value()
	if len(w.line.members) == 0 {
		l.last = l.span.Start + 1
	}
	l.split = w.do.split && !(l.has(memberID) && l.has(memberCount))
	return nil, w.invalid(c.Err())
}

// decide completes the plan of a line that was read.
func (w *workspace) decide(l *plan) error {
	if len(w.p.split)+len(w.p.stages) > 0 {
		w.lineView.ResetObject(l.span.Of(w.order), w.line.members)
	}
	if l.split {
		if err := w.planJobs(l); err != nil {
			return err
		}
	}
	if w.do.stages {
		return w.planStages(l)
	}
	return nil
}

// memberOf returns which of our members has the name, or -1.
func memberOf(name []byte) int {
	switch string(name) {
	case "job_id":
		return memberID
	case "line_no":
		return memberLine
	case "job_no":
		return memberJob
	case "job_count":
		return memberCount
	case "source_quantity":
		return memberSource
	case "component":
		return memberComponent
	case "completion_stages":
		return memberStages
	}
	return -1
}

// planJobs decides how many jobs a line becomes.
func (w *workspace) planJobs(l *plan) error {
	if err := w.p.quantity.finish(&l.quantity, w.order[:l.span.End], l.span.Start); err != nil {
		return err
	}
	if l.quantity.rank > 0 {
		l.count = parseCount(string(l.quantity.value.Of(w.order)))
	}
	switch {
	case l.count.sort != badCount:
		if err := w.chooseRule(l); err != nil {
			return err
		}
	case w.p.config.OnBadQuantity == Fail:
		return pipeline.Invalid("order line %d: the quantity %s is not a positive number", l.number, excerpt(l.quantity.value.Of(w.order)))
	}
	return w.checkCollisions(l)
}

// chooseRule finds the line's rule and what it makes of the line.
func (w *workspace) chooseRule(l *plan) error {
	l.rule = w.p.otherwise
	for i := range w.p.split {
		r := &w.p.split[i]
		yes, err := r.when.Bool(w.env)
		if err != nil {
			return pipeline.Invalid("order line %d: %s: %w", l.number, r.name, err)
		}
		if yes {
			l.rule = r
			break
		}
	}
	var err error
	if l.jobs, err = l.rule.jobs(w, l); err != nil {
		return pipeline.Invalid("order line %d: %s: %w", l.number, l.rule.name, err)
	}
	return nil
}

// shift turns a span of the line into one of the order.
func (l *plan) shift(at pointer.Span) pointer.Span {
	return pointer.Span{Start: l.span.Start + at.Start, End: l.span.Start + at.End}
}

// checkCollisions refuses a line that has a member of ours without being a
// job. Stages are not ours alone: producers may choose them.
func (w *workspace) checkCollisions(l *plan) error {
	if l.came == 0 || w.p.config.Collision != Fail {
		return nil
	}
	for member, name := range memberNames {
		foreign := member != memberStages && (member != memberComponent || l.bundle())
		if foreign && l.has(member) {
			return pipeline.Invalid("order line %d: has the member %q, which prepare_order writes; see collision", l.number, name)
		}
	}
	return nil
}

// bundle reports whether the line becomes a job for each component.
func (l *plan) bundle() bool { return l.rule != nil && l.rule.Components != "" }

// excerpt cuts a value that stands in an error.
func excerpt(value []byte) string {
	if len(value) > 40 {
		return string(value[:40]) + "…"
	}
	return string(value)
}
