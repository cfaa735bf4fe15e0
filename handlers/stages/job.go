package stages

import (
	"errors"
	"fmt"
	"slices"

	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// job is a job of a prepared order.
type job struct {
	ID     string   `json:"id"`
	Stages []string `json:"stages"` // in order
	done   []string // those that it came with as done
}

// Statuses of a stage that is written as an object.
const (
	statusPending = "pending"
	statusDone    = "done"
)

// readJob reads a line of a prepared order.
func readJob(line []byte) (j job, err error) {
	if j.ID = first(line, []string{"/job_id"}); j.ID == "" {
		return j, errors.New("it is no job, as it has no job_id: let prepare_order prepare the order first")
	}
	list, _, err := pointer.Lookup(line, "/completion_stages")
	if err != nil {
		return j, err
	}
	cursor := pointer.Open(list, 0)
	if len(list) == 0 || !cursor.IsArray() {
		return j, fmt.Errorf("job %q has no list completion_stages", j.ID)
	}
	for cursor.Next() {
		name, done, err := readStage(cursor.Value().Of(list))
		if err != nil {
			return j, fmt.Errorf("job %q: %w", j.ID, err)
		}
		if slices.Contains(j.Stages, name) {
			return j, fmt.Errorf("job %q: the stage %q is there twice", j.ID, name)
		}
		j.Stages = append(j.Stages, name)
		if done {
			j.done = append(j.done, name)
		}
	}
	if len(j.Stages) == 0 {
		return j, fmt.Errorf("job %q has no stages, and so would be complete at once", j.ID)
	}
	return j, cursor.Err()
}

// readStage reads a name, or an object with name and status.
func readStage(value []byte) (name string, done bool, err error) {
	name = textOf(value)
	if value[0] == '{' {
		name = first(value, []string{"/name"})
		switch status := first(value, []string{"/status"}); status {
		case "", statusPending:
		case statusDone:
			done = true
		default:
			return "", false, fmt.Errorf("the stage %q has the status %q, which is not one of: %s, %s", name, status, statusPending, statusDone)
		}
	}
	if name == "" {
		return "", false, errors.New("a stage has no name")
	}
	return name, done, nil
}
