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
	h = Recover(h) // what the chain holds is let go, whatever happens in it
	done := r.done
	return func(msg *message.Message) ([]*message.Message, error) {
		ctx, outcome := pipeline.NewOutcome(msg.Context())
		msg.SetContext(ctx)
		outcome.Began = time.Now()
		r.Begin()
		produced, err := h(msg)
		return produced, outcome.Then(msg, err, done)
	}
}

func (r Record) done(_ *message.Message, outcome *pipeline.Outcome, err error) error {
	defer outcome.End()
	r.Done(outcome, time.Since(outcome.Began))
	return err
}
