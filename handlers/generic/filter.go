package generic

import (
	"errors"
	"log/slog"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
)

// FilterConfig is the config of the kind filter.
type FilterConfig struct {
	When string `yaml:"when" doc:"Condition under which a message goes on. It must be given."`
}

// Validate implements pipeline.Validator.
func (c *FilterConfig) Validate() []error {
	return appendFault(nil, "/when", condition(c.When))
}

// condition says what is wrong with a condition that must be given.
func condition(source string) error {
	if source == "" {
		return errors.New("a condition is needed, for example payload.total > 0")
	}
	_, err := view.CompileBool(source)
	return err
}

// Filter returns the kind filter.
func Filter() pipeline.Kind {
	return pipeline.Kind{
		Name: "filter",
		Doc: "Sends a message on to the handler's `to` if a condition over `payload` and `meta` is true, and drops it if not. " +
			"A dropped message is done, not failed; the log says so at level debug.",
		NewConfig: func() any { return &FilterConfig{} },
		New:       newFilter,
	}
}

type filter struct {
	when    *rule.Program
	outputs []string
	dropped drops
}

func newFilter(env pipeline.Env, config any) (message.HandlerFunc, error) {
	when, err := view.CompileBool(config.(*FilterConfig).When)
	if err != nil {
		return nil, err
	}
	f := &filter{when: when, outputs: env.Outputs, dropped: drops{log: env.Log}}
	return f.handle, nil
}

func (f *filter) handle(msg *message.Message) ([]*message.Message, error) {
	keep, err := view.Of(msg).Bool(f.when)
	if err != nil {
		return nil, err
	}
	if !keep {
		f.dropped.add(msg)
		return nil, nil
	}
	return output.Each(msg, f.outputs, msg.Payload), nil
}

// drops counts and logs the messages that a handler dropped on purpose.
type drops struct {
	log   *slog.Logger
	count atomic.Int64
}

func (d *drops) add(msg *message.Message) {
	d.log.Debug("message dropped", "message", msg.UUID, "dropped", d.count.Add(1))
}
