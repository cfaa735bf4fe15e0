package middleware

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Timeout bounds one run of the kind. Unlike Watermill's it gives the message
// its old context back, so that what comes after the run does not find a
// context that has ended.
type Timeout struct {
	After time.Duration // 0: no bound
}

// Middleware wraps h.
func (t Timeout) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if t.After <= 0 {
		return h
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		outer := msg.Context()
		ctx := pipeline.RunScope(outer, t.After)
		defer ctx.End()
		defer msg.SetContext(outer)
		msg.SetContext(ctx)
		produced, err := h(msg)
		if err != nil && outer.Err() == nil && errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
			err = pipeline.WithReason(fmt.Errorf("no end within the handler's timeout of %s: %w", t.After, err), pipeline.ReasonTimeout)
		}
		return produced, err
	}
}
