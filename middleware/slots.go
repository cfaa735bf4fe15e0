package middleware

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Slots bounds how many runs of the kind there are at a time. The window hands
// out more messages than that, so that a slot is not held by one that only
// waits for its outputs to be confirmed.
//
// What passes here is a run, from its very begin to its end: it is told to the
// Witness of the message's Outcome. That it waits for a suspect that runs alone
// (see Journal) is part of it: it has its slot meanwhile.
type Slots struct {
	Number int // 0: no bound, and runs are told to nobody
}

// Middleware wraps h. All messages of the returned function share the slots.
func (s Slots) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if s.Number <= 0 {
		return h
	}
	slots := make(chan int, s.Number) // those that are free
	for slot := range s.Number {
		slots <- slot
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		var slot int
		select {
		case slot = <-slots:
		default:
			var err error
			if slot, err = queue(slots, msg); err != nil {
				return nil, err
			}
		}
		defer func() { slots <- slot }()
		witness := pipeline.OutcomeOf(msg.Context()).Witness
		if witness == nil {
			return h(msg)
		}
		witness.Began(slot)
		produced, err := h(msg)
		witness.Ended(err)
		return produced, err
	}
}

// queue waits for a slot.
func queue(slots <-chan int, msg *message.Message) (int, error) {
	select {
	case slot := <-slots:
		return slot, nil
	case <-pipeline.Draining(msg.Context()):
		return 0, stopping(msg)
	case <-msg.Context().Done():
		return 0, stopping(msg)
	}
}
