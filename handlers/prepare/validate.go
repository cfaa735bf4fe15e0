package prepare

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

var _ pipeline.Validator = (*Config)(nil)

// Validate implements pipeline.Validator: all faults at once, each with the
// key that is to blame. Keys that are not set are not wrong.
func (c *Config) Validate() []error {
	v := validation{}
	full := c.withDefaults()
	v.oneOf("/without_lines", full.WithoutLines, Fail, Pass)
	v.oneOf("/on_bad_quantity", full.OnBadQuantity, Fail, Keep)
	v.oneOf("/collision", full.Collision, Fail, Keep, Overwrite)
	v.oneOf("/stage_items", full.StageItems, AsString, AsObject)
	v.oneOf("/split/otherwise", full.Split.Otherwise, WholeLine, PerUnit)
	v.between("/max_jobs_per_order", full.MaxJobs, 1, 10_000_000)
	v.between("/max_output", full.MaxOutput, 1, 1<<30)
	v.between("/max_depth", full.MaxDepth, 8, 1000)
	v.paths("/quantity", full.Quantity)
	v.paths("/order_id", full.OrderID)
	for i, r := range full.Split.Rules {
		v.splitRule(fmt.Sprintf("/split/rules/%d", i), r, full.Quantity)
	}
	for i, r := range full.Stages.Rules {
		at := fmt.Sprintf("/stages/rules/%d", i)
		v.condition(at, r.When)
		v.stages(at+"/stages", r.Stages)
	}
	if full.Stages.Default != nil {
		v.stages("/stages/default", full.Stages.Default)
	}
	return v.faults
}

// validation gathers faults.
type validation struct{ faults []error }

func (v *validation) fault(at, format string, args ...any) {
	v.faults = append(v.faults, &pipeline.FieldError{Pointer: at, Err: fmt.Errorf(format, args...)})
}

func (v *validation) oneOf(at, got string, choices ...string) {
	if !slices.Contains(choices, got) {
		v.fault(at, "%q is not one of: %s", got, strings.Join(choices, ", "))
	}
}

func (v *validation) between(at string, got, least, most int) {
	if got < least || got > most {
		v.fault(at, "%d is not between %d and %d", got, least, most)
	}
}

// condition compiles the `when` of a rule.
func (v *validation) condition(at, when string) {
	if when == "" {
		v.fault(at+"/when", `a rule needs a condition; "true" holds for every line`)
		return
	}
	if _, err := rule.CompileBool(when, lineName, orderName); err != nil {
		v.fault(at+"/when", "%w", err)
	}
}

func (v *validation) splitRule(at string, r SplitRule, quantity []string) {
	v.condition(at, r.When)
	if r.Batch < 0 {
		v.fault(at+"/batch", "%d is not a positive number", r.Batch)
	}
	actions := 0
	for _, set := range []bool{r.PerUnit, r.Batch != 0, r.WholeLine, r.Components != ""} {
		if set {
			actions++
		}
	}
	if actions != 1 {
		v.fault(at, "a rule needs exactly one of per_unit, batch, whole_line, components")
	}
	if r.Components != "" {
		v.path(at+"/components", r.Components)
	}
	v.paths(at+"/split_amounts", r.SplitAmounts)
	for i, amount := range r.SplitAmounts {
		for _, other := range slices.Concat(quantity, r.SplitAmounts[:i]) {
			if within(amount, other) || within(other, amount) {
				v.fault(fmt.Sprintf("%s/split_amounts/%d", at, i), "%s and %s are parts of each other", amount, other)
			}
		}
	}
}

func (v *validation) paths(at string, paths []string) {
	for i, path := range paths {
		v.path(fmt.Sprintf("%s/%d", at, i), path)
	}
}

// path checks the path of a value that is read or replaced in a line.
func (v *validation) path(at, path string) {
	err := pointer.Check(path)
	if err == nil && path == "" {
		err = errors.New("the path is empty")
	}
	if err != nil {
		v.fault(at, "%w", err)
	}
	for _, name := range memberNames {
		if within(path, "/"+name) {
			v.fault(at, "%s is a member that prepare_order writes", name)
		}
	}
}

// within reports whether the value at path is the value at outer, or a part
// of it.
func within(path, outer string) bool {
	return path == outer || strings.HasPrefix(path, outer+"/")
}

// stages checks a list of stage names.
func (v *validation) stages(at string, names []string) {
	if len(names) == 0 {
		v.fault(at, "a job without stages would be complete at once; name at least one")
	}
	for i, name := range names {
		switch {
		case strings.TrimSpace(name) == "":
			v.fault(fmt.Sprintf("%s/%d", at, i), "the stage has no name")
		case !utf8.ValidString(name):
			v.fault(fmt.Sprintf("%s/%d", at, i), "the name %q is not UTF-8", name)
		case slices.Contains(names[:i], name):
			v.fault(fmt.Sprintf("%s/%d", at, i), "the stage %q is there twice", name)
		}
	}
}
