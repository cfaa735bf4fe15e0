package stages

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
)

// The outputs of the kind.
const (
	outputCompleted = "completed"
	outputErrors    = "errors" // may be left out
)

// The types of the events that the kind makes.
const (
	typeCompleted = "order.completed"
	typeRefused   = "order.stage_refused"
)

// What can be wrong with a stage event, in the member problem.
const (
	unknownJob   = "unknown_job"
	unknownStage = "unknown_stage"
)

// refusal is the error of an event for what its order does not have.
type refusal struct{ problem, text string }

func (r *refusal) Error() string { return r.text }

// cloudEvent is an event in CloudEvents' JSON format.
type cloudEvent struct {
	SpecVersion     string    `json:"specversion"`
	ID              string    `json:"id"`
	Source          string    `json:"source"`
	Type            string    `json:"type"`
	Subject         string    `json:"subject"` // the order's id
	Time            time.Time `json:"time"`
	DataContentType string    `json:"datacontenttype"`
	Data            any       `json:"data"`
}

type completedData struct {
	OrderID string         `json:"order_id"`
	Jobs    []completedJob `json:"jobs"`
}

type completedJob struct {
	ID     string   `json:"job_id"`
	Stages []string `json:"stages"`
}

type refusedData struct {
	OrderID string `json:"order_id"`
	JobID   string `json:"job_id"`
	Stage   string `json:"stage"`
	Problem string `json:"problem"`
	Message string `json:"message"`
	Event   string `json:"event"` // its text, byte for byte as it came
}

// completed announces the order. Its id is made of the order's: whoever sees
// two of them knows that they are one.
func (t *tracker) completed(order string, r *record) (*message.Message, error) {
	data := completedData{OrderID: order}
	for _, j := range r.Jobs {
		data.Jobs = append(data.Jobs, completedJob{j.ID, j.Stages})
	}
	return t.output(outputCompleted, cloudEvent{
		ID: pipeline.OutputID(order, t.env.Handler, 0), Type: typeCompleted, Subject: order, Time: r.Last, Data: data,
	})
}

// refused tells of an event for what its order does not have.
func (t *tracker) refused(in *message.Message, what *input, why *refusal) (*message.Message, error) {
	return t.output(outputErrors, cloudEvent{
		ID: pipeline.OutputID(in.UUID, t.env.Handler, 0), Type: typeRefused, Subject: what.order, Time: what.event.at,
		Data: refusedData{what.order, what.event.job, what.event.stage, why.problem, why.text, string(in.Payload)},
	})
}

func (t *tracker) output(name string, e cloudEvent) (*message.Message, error) {
	e.SpecVersion, e.Source, e.DataContentType = "1.0", "waybill/"+t.env.Handler, "application/json"
	body, err := json.Marshal(e)
	if err != nil {
		return nil, pipeline.Invalid("write the event %s: %w", e.Type, err)
	}
	out := pipeline.NewMessage("", body, nil)
	out.Metadata.Set(pipeline.MetaContentType, "application/cloudevents+json")
	out.Metadata.Set(pipeline.MetaPartitionKey, e.Subject)
	pipeline.SetOutput(out, name)
	return out, nil
}
