package peer

import (
	"context"
	"fmt"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// stock is Watermill's router with a published adapter.
type stock struct {
	open     func() (message.Subscriber, message.Publisher, error)
	handlers int  // of the router
	each     bool // whether each handler has a subscriber and a publisher of its own
}

func (s stock) run(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) error {
	router, err := message.NewRouter(message.RouterConfig{}, watermill.NopLogger{})
	if err != nil {
		return err
	}
	handle := func(msg *message.Message) ([]*message.Message, error) {
		payload, err := prepare(msg.Payload)
		if err != nil {
			return nil, err
		}
		out := message.NewMessage(msg.UUID, payload)
		out.Metadata = msg.Metadata
		return []*message.Message{out}, nil
	}
	var sub message.Subscriber
	var pub message.Publisher
	for n := range s.handlers {
		if n == 0 || s.each {
			if sub, pub, err = s.open(); err != nil {
				return fmt.Errorf("open adapter: %w", err)
			}
			defer func() { _, _ = sub.Close(), pub.Close() }()
		}
		router.AddHandler(fmt.Sprintf("prepare-%d", n), spec.In, sub, spec.Out, pub, handle)
	}
	return router.Run(ctx)
}
