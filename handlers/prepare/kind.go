package prepare

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Kind is prepare_order: one order in, the prepared order out, with all of
// its metadata and the version of the config that prepared it.
func Kind() pipeline.Kind {
	return pipeline.Kind{
		Name: "prepare_order",
		Doc: "Splits the lines of an order into jobs and assigns their completion stages. " +
			"It changes the bytes of the value of order_lines and nothing else of the order.",
		NewConfig: func() any { return NewConfig() },
		New:       newHandler,
	}
}

func newHandler(env pipeline.Env, config any) (message.HandlerFunc, error) {
	c, ok := config.(*Config)
	if !ok {
		return nil, fmt.Errorf("prepare_order takes %T, not %T", c, config)
	}
	p, err := New(*c)
	if err != nil {
		return nil, err
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		order, err := p.Prepare(msg.Payload)
		if err != nil {
			return nil, err
		}
		out := pipeline.NewMessage("", order, msg.Metadata) // the run's own; the engine gives it its id
		out.Metadata.Set(pipeline.MetaConfigVersion, env.Version)
		return []*message.Message{out}, nil
	}, nil
}
