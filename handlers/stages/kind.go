package stages

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Kind returns the kind track_stages.
func Kind() pipeline.Kind {
	return pipeline.Kind{
		Name: "track_stages",
		Doc: "Marks the completion stages of an order's jobs done, as events say, and announces once on the output `completed` that the order is complete. " +
			"It reads prepared orders and stage events (`job_id`, `stage`, and the order's id) from one topic. " +
			"An event for a job or a stage that the order does not have goes to the output `errors`, or is a dead letter where there is none. " +
			"One that comes before its order, or before its turn, is tried again as `retry` says.",
		Outputs:   func(any) []string { return []string{outputCompleted} },
		Optional:  []string{outputErrors},
		NewConfig: func() any { return NewConfig() },
		New:       newTracker,
	}
}

// tracker is one handler of the kind.
type tracker struct {
	config *Config
	env    pipeline.Env
}

func newTracker(env pipeline.Env, config any) (message.HandlerFunc, error) {
	t := &tracker{config: config.(*Config), env: env}
	if env.State == nil {
		return nil, errors.New("track_stages remembers orders, and there is no store: set store in the config")
	}
	for _, name := range env.Outputs {
		if name != outputCompleted && name != outputErrors {
			return nil, fmt.Errorf("track_stages has no output %q: it has %s and %s", name, outputCompleted, outputErrors)
		}
	}
	return t.handle, nil
}

func (t *tracker) handle(msg *message.Message) ([]*message.Message, error) {
	in, err := t.config.read(msg.Payload)
	if err != nil {
		return nil, err
	}
	if in == nil {
		t.env.Log.DebugContext(msg.Context(), "nothing to track")
		return nil, nil
	}
	if in.event.at.IsZero() {
		in.event.at = time.Now().UTC()
	}
	value, version, err := t.env.State.Load(msg.Context(), in.order)
	if err != nil {
		return nil, err
	}
	r, err := decodeRecord(value)
	if err != nil {
		return nil, fmt.Errorf("order %q: %w", in.order, err)
	}
	changed, err := t.apply(r, in, msg)
	var refused *refusal
	switch {
	case errors.As(err, &refused):
		return t.refuse(msg, in, refused)
	case err != nil:
		return nil, fmt.Errorf("order %q: %w", in.order, err)
	case !changed:
		t.env.Log.DebugContext(msg.Context(), "nothing new", "order", in.order)
		return nil, nil
	}
	return t.settle(msg, in, r, version)
}

// apply changes the record as the message says.
func (t *tracker) apply(r *record, in *input, msg *message.Message) (changed bool, err error) {
	if in.jobs == nil {
		return r.mark(in.event, t.config.Lenient)
	}
	by := ""
	if pipeline.Identified(msg) {
		by = msg.UUID
	}
	return r.register(in.jobs, by, t.config.Changed == Update)
}

// settle returns what follows from a change, and saves it with the outcome.
func (t *tracker) settle(msg *message.Message, in *input, r *record, version int64) ([]*message.Message, error) {
	var outs []*message.Message
	if r.complete() {
		if r.Last.IsZero() { // it came with all its stages done
			r.Last = in.event.at
		}
		out, err := t.completed(in.order, r)
		if err != nil {
			return nil, err
		}
		outs = append(outs, out)
		t.env.Log.InfoContext(msg.Context(), "🏁 order is complete", "order", in.order)
	}
	value, err := r.encode()
	if err != nil {
		return nil, fmt.Errorf("order %q: write what is known of it: %w", in.order, err)
	}
	pipeline.OutcomeOf(msg.Context()).Save(t.env.State.Save(in.order, version, value, t.config.Keep))
	return outs, nil
}

// refuse tells of an event for what its order does not have.
func (t *tracker) refuse(msg *message.Message, in *input, why *refusal) ([]*message.Message, error) {
	if !slices.Contains(t.env.Outputs, outputErrors) {
		return nil, pipeline.Invalid("order %q: %w", in.order, why)
	}
	out, err := t.refused(msg, in, why)
	if err != nil {
		return nil, err
	}
	t.env.Log.WarnContext(msg.Context(), "stage event is refused: "+why.text, "order", in.order)
	return []*message.Message{out}, nil
}
