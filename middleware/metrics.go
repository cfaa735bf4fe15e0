package middleware

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Record gives the message its Outcome and, when the chain inside is done with
// it, hands that to Done. It stands outside of settle, so that it sees every
// end.
type Record struct {
	Begin func()
	Done  func(o *pipeline.Outcome, took time.Duration)
}

// Middleware wraps h.
func (r Record) Middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := &pipeline.Outcome{}
		defer outcome.End()
		msg.SetContext(pipeline.WithOutcome(msg.Context(), outcome))
		begin := time.Now()
		r.Begin()
		produced, err := h(msg)
		r.Done(outcome, time.Since(begin))
		return produced, err
	}
}
