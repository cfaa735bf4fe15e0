package prepare

import (
	"errors"
	"fmt"
	"math"

	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// splitRule is a SplitRule that can run.
type splitRule struct {
	SplitRule
	name string
	when *rule.Program
}

func compileSplit(config Split) ([]splitRule, error) {
	rules := make([]splitRule, len(config.Rules))
	for i, r := range config.Rules {
		name := fmt.Sprintf("split.rules[%d]", i)
		when, err := rule.CompileBool(r.When, lineName, orderName)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		rules[i] = splitRule{SplitRule: r, name: name, when: when}
	}
	return rules, nil
}

// otherwise is the rule for lines that no other rule is for.
func otherwise(config Split) *splitRule {
	return &splitRule{SplitRule: SplitRule{PerUnit: config.Otherwise == PerUnit}, name: "split.otherwise"}
}

// jobs returns how many jobs the line becomes. Counts beyond an int's range
// are as good as math.MaxInt: the guard refuses both.
func (r *splitRule) jobs(w *workspace, l *plan) (int, error) {
	units := int64(1)
	if l.count.sort == wholeCount {
		units = l.count.units
	}
	switch {
	case r.PerUnit:
		return clamp(units), nil
	case r.Batch > 0:
		return clamp((units-1)/r.Batch + 1), nil
	case r.Components != "":
		components, err := r.components(w, l)
		if err != nil {
			return 0, err
		}
		if units > math.MaxInt64/components {
			return math.MaxInt, nil
		}
		return clamp(units * components), nil
	}
	return 1, nil
}

func clamp(n int64) int { return int(min(n, math.MaxInt)) }

// components counts the line's components.
func (r *splitRule) components(w *workspace, l *plan) (n int64, err error) {
	list, ok, err := pointer.Lookup(l.span.Of(w.order), r.Components)
	if err != nil {
		return 0, err
	}
	c := pointer.Open(list, 0)
	if !ok || !c.IsArray() {
		return 0, fmt.Errorf("there is no array at %s", r.Components)
	}
	for c.Next() {
		n++
	}
	if n == 0 {
		return 0, errors.New("the array of components is empty, the line would vanish")
	}
	return n, c.Err()
}

// unitsOf returns the quantity of one of a split line's jobs, from 1.
func (l *plan) unitsOf(job int) int64 {
	if l.rule.Batch == 0 {
		return 1
	}
	return min(l.rule.Batch, l.count.units-int64(job-1)*l.rule.Batch)
}
