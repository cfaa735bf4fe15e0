package prepare

import (
	"fmt"
	"slices"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// stageRule is a StageRule that can run.
type stageRule struct {
	name string
	when *rule.Program
	list []byte // its stages as JSON
}

func compileStages(config Config) ([]stageRule, error) {
	rules := make([]stageRule, len(config.Stages.Rules))
	for i, r := range config.Stages.Rules {
		name := fmt.Sprintf("stages.rules[%d]", i)
		when, err := rule.CompileBool(r.When, lineName, orderName)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		rules[i] = stageRule{name: name, when: when, list: stageList(r.Stages, config.StageItems)}
	}
	return rules, nil
}

// stageList writes stages as JSON, in order.
func stageList(stages []string, items string) []byte {
	list := []byte{'['}
	for i, name := range stages {
		if i > 0 {
			list = append(list, ',')
		}
		if items == AsObject {
			list = append(list, `{"name":`...)
		}
		list, _ = jsontext.AppendQuote(list, name) // Validate saw to it that it is UTF-8
		if items == AsObject {
			list = append(list, `,"status":"pending"}`...)
		}
	}
	return append(list, ']')
}

// stagePlan says where the stages of a line's jobs come from.
type stagePlan int

const (
	stagesKept  stagePlan = iota // they stay as they are, if there are any
	stagesKnown                  // from the line, for all its jobs
	stagesOpen                   // from each job
)

// planStages decides where the stages of a line's jobs come from. Rules see
// the job; where that makes no difference to them, they run once, on the line.
func (w *workspace) planStages(l *plan) error {
	kept, err := w.keepStages(l)
	if kept || err != nil {
		return err
	}
	if l.split && !w.p.stagesOfLine {
		l.stages = stagesOpen
		return nil
	}
	l.stages = stagesKnown
	l.list, err = w.chooseStages(l, 1)
	return err
}

// keepStages decides about stages that the order came with: a list with
// stages is the producer's choice, an empty one or null is none, anything
// else collides with our name.
func (w *workspace) keepStages(l *plan) (kept bool, err error) {
	if !l.has(memberStages) {
		return false, nil
	}
	present := l.present[memberStages].Of(w.order)
	c := pointer.Open(present, 0)
	switch {
	case c.IsArray():
		return c.Next() && !w.p.config.Stages.Overwrite, c.Err()
	case string(present) == "null":
		return false, nil
	case w.p.config.Collision == Fail:
		return false, pipeline.Invalid("order line %d: completion_stages is not an array; see collision", l.number)
	}
	return w.p.config.Collision == Keep, nil
}

var noStages = []byte("null")

// stagesOf chooses the stages of one job. The rules see it as Normalise makes
// it, with completion_stages null; it is written behind the end of out.
func (w *workspace) stagesOf(out []byte, l *plan, j job) ([]byte, error) {
	j.stages = noStages
	text := w.template.write(out, l, j)[len(out):]
	w.lineView.Reset(text)
	return w.chooseStages(l, j.number)
}

// chooseStages returns the stages of the first rule that holds for lineView.
func (w *workspace) chooseStages(l *plan, job int) ([]byte, error) {
	for i := range w.p.stages {
		r := &w.p.stages[i]
		yes, err := r.when.Bool(w.env)
		if err != nil {
			return nil, pipeline.Invalid("%s: %s: %w", w.jobName(l, job), r.name, err)
		}
		if yes {
			return r.list, nil
		}
	}
	if w.p.preset == nil {
		return nil, pipeline.Invalid("%s: no rule of stages holds, and there is no stages.default", w.jobName(l, job))
	}
	return w.p.preset, nil
}

// jobName names a job in an error: its line, its own number, and the order's.
func (w *workspace) jobName(l *plan, job int) string {
	var id choice
	for c := pointer.Open(w.order, 0); c.Next(); {
		w.p.orderID.offer(&id, c.DecodedName(), &c)
	}
	_ = w.p.orderID.finish(&id, w.order, 0) // an order without an id has no name
	return fmt.Sprintf("order line %d, job %d of order %s", l.number, job, excerpt(id.value.Of(w.order)))
}

// looksAtLineOnly reports whether a rule over a job gives the same as over
// its line: it looks at named members that splitting does not change.
func looksAtLineOnly(when *rule.Program, config Config) bool {
	members, all := when.Members(lineName)
	changed := slices.Clone(memberNames[:])
	for _, path := range config.Quantity {
		changed = append(changed, firstToken(path))
	}
	for _, r := range config.Split.Rules {
		for _, path := range r.SplitAmounts {
			changed = append(changed, firstToken(path))
		}
	}
	return all && !slices.ContainsFunc(members, func(name string) bool { return slices.Contains(changed, name) })
}
