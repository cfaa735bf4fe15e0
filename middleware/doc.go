// Package middleware holds what surrounds a handler, one middleware a file, in
// Watermill's idiom: a struct whose exported fields are its settings, and a
// method Middleware. pipeline/engine's chain.go holds their order, with the
// reason of each.
//
// They share through the message's context its Identity, its Outcome, and that
// the handler stops: pipeline.Draining says so first, and the context ends when
// the time is up. A middleware that only waits (Retry, Breaker, Throttle,
// Publish) gives up at the first of the two and returns pipeline.ErrStopping;
// nothing is settled then, and the broker keeps the message.
//
// The chain may return before the outcome of a message is known (Flights). What a
// middleware outside of Publish does with the end of a message it does through
// Outcome.Then.
package middleware

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// stopping returns the error for a message whose context has ended: not a
// failure of the message, and never to be counted as one.
func stopping(msg *message.Message) error {
	return fmt.Errorf("handle message: %w", errors.Join(pipeline.ErrStopping, context.Cause(msg.Context())))
}

// wait sleeps for d, or until the message's context ends.
func wait(msg *message.Message, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-pipeline.Draining(msg.Context()):
		return stopping(msg)
	case <-msg.Context().Done():
		return stopping(msg)
	}
}
