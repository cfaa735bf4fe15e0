package stages

import (
	"fmt"
	"slices"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
)

// record is what is known of one order. It is kept as JSON under the order's
// id, and so must stay readable to later releases.
type record struct {
	Jobs   []job               `json:"jobs"`
	Done   map[string][]string `json:"done"`            // stages by job; also of jobs that an update took away, should they come back
	Orders []string            `json:"orders,omitzero"` // ids of the messages that brought its jobs, as far as ids tell messages apart
	Last   time.Time           `json:"last,omitzero"`   // of the latest stage that an event marked done
}

func decodeRecord(value []byte) (*record, error) {
	r := &record{Done: make(map[string][]string)}
	if len(value) == 0 {
		return r, nil
	}
	if err := json.Unmarshal(value, r); err != nil {
		return nil, pipeline.WithReason(pipeline.Permanent(fmt.Errorf("read what is known of the order: %w", err)), pipeline.ReasonInternal)
	}
	return r, nil
}

func (r *record) encode() ([]byte, error) { return json.Marshal(r, json.Deterministic(true)) }

// known reports whether the order has come.
func (r *record) known() bool { return len(r.Jobs) > 0 }

// register takes the jobs of a prepared order, which the message of that id
// brought ("": its id does not tell it from others), and reports whether that
// changed anything.
func (r *record) register(jobs []job, by string, update bool) (changed bool, err error) {
	same := r.same(jobs)
	switch {
	case by != "" && slices.Contains(r.Orders, by): // also where others have come since
		return false, nil
	case r.known() && !same && r.complete():
		return false, conflict("the order is complete, and was announced with other jobs or stages")
	case r.known() && !same && !update:
		return false, conflict("the order is known with other jobs or stages; see changed")
	}
	for _, j := range jobs {
		for _, name := range j.done {
			changed = r.set(j.ID, name) || changed
		}
	}
	if same {
		return changed, nil
	}
	r.Jobs = jobs
	if by != "" {
		r.Orders = append(r.Orders, by)
	}
	return true, nil
}

func conflict(text string) error {
	return pipeline.WithReason(pipeline.Invalid("%s", text), pipeline.ReasonConflict)
}

// same reports whether the order has these jobs with these stages, in any
// order of jobs.
func (r *record) same(jobs []job) bool {
	stages := make(map[string][]string, len(r.Jobs))
	for _, j := range r.Jobs {
		stages[j.ID] = j.Stages
	}
	return len(jobs) == len(r.Jobs) && !slices.ContainsFunc(jobs, func(j job) bool { return !slices.Equal(j.Stages, stages[j.ID]) })
}

// mark marks a stage done and reports whether it was not. The error is a
// *refusal if there is no such stage, and retryable if it is too early.
func (r *record) mark(e event, lenient bool) (changed bool, err error) {
	if !r.known() {
		return false, early("the order is not known yet: the event came before it")
	}
	i := slices.IndexFunc(r.Jobs, func(j job) bool { return j.ID == e.job })
	if i < 0 {
		return false, &refusal{unknownJob, fmt.Sprintf("the order has no job %q", e.job)}
	}
	j := r.Jobs[i]
	if !slices.Contains(j.Stages, e.stage) {
		return false, &refusal{unknownStage, fmt.Sprintf("job %q has no stage %q; it has %q", e.job, e.stage, j.Stages)}
	}
	if next := r.next(j); next != e.stage && !r.done(e.job, e.stage) && !lenient {
		return false, early(fmt.Sprintf("stage %q of job %q comes before its turn: %q is not done", e.stage, e.job, next))
	}
	if changed = r.set(e.job, e.stage); changed && e.at.After(r.Last) {
		r.Last = e.at
	}
	return changed, nil
}

func (r *record) done(job, stage string) bool { return slices.Contains(r.Done[job], stage) }

// set marks a stage done and reports whether it was not. There is no way back.
func (r *record) set(job, stage string) (changed bool) {
	if r.done(job, stage) {
		return false
	}
	r.Done[job] = append(r.Done[job], stage)
	return true
}

// next returns the first stage of a job that is not done, "" if all are.
func (r *record) next(j job) string {
	i := slices.IndexFunc(j.Stages, func(name string) bool { return !r.done(j.ID, name) })
	if i < 0 {
		return ""
	}
	return j.Stages[i]
}

// early is the error of an event that may be right later.
func early(text string) error {
	return pipeline.WithReason(fmt.Errorf("%s; it is tried again as the handler's retry says", text), pipeline.ReasonUnavailable)
}

// complete reports whether all stages of all jobs are done. Then nothing can
// change the record any more, so that the change that made it complete is the
// one that is announced.
func (r *record) complete() bool {
	return !slices.ContainsFunc(r.Jobs, func(j job) bool { return r.next(j) != "" })
}
