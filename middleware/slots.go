package middleware

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Slots bounds how many runs of the kind there are at a time. The window hands
// out more messages than that, so that a slot is not held by one that only
// waits for its outputs to be confirmed.
type Slots struct {
	Number int // 0: no bound
}

// Middleware wraps h. All messages of the returned function share the slots.
func (s Slots) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if s.Number <= 0 {
		return h
	}
	slots := make(chan struct{}, s.Number)
	return func(msg *message.Message) ([]*message.Message, error) {
		select {
		case slots <- struct{}{}:
		default:
			if err := queue(slots, msg); err != nil {
				return nil, err
			}
		}
		defer func() { <-slots }()
		return h(msg)
	}
}

// queue waits for a slot.
func queue(slots chan<- struct{}, msg *message.Message) error {
	select {
	case slots <- struct{}{}:
		return nil
	case <-pipeline.Draining(msg.Context()):
		return stopping(msg)
	case <-msg.Context().Done():
		return stopping(msg)
	}
}
