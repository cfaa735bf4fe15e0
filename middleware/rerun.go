package middleware

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// The pauses of a message whose state another one changed: each loss is
// another's progress, so they only keep losers apart.
const (
	rerunInitial = time.Millisecond
	rerunMax     = time.Second
)

// Rerun has a message begin anew, as if it had not been tried, where its
// failure was not its own. The state that the kind saw was changed before its
// own change was saved: it runs again on what is there now. The store was away
// when the kind asked for its state: the message is held until it is back.
type Rerun struct {
	Holder Holder
}

// Middleware wraps h.
func (r Rerun) Middleware(h message.HandlerFunc) message.HandlerFunc {
	h = onWhatIsThere(h)
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := pipeline.OutcomeOf(msg.Context())
		untried := *outcome
		produced, err := h(msg)
		if !away(err) {
			return produced, err
		}
		held := r.Holder.Until(msg, "use the store", func(context.Context) error {
			outcome.Reset(untried)
			if produced, err = h(msg); away(err) {
				return err
			}
			return nil
		})
		if held != nil {
			return nil, held
		}
		return produced, err
	}
}

// away reports whether the store was away, and Waybill is not stopping.
func away(err error) bool {
	return errors.Is(err, store.ErrUnavailable) && !errors.Is(err, pipeline.ErrStopping)
}

// onWhatIsThere runs h again until what it saw is what is there.
func onWhatIsThere(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := pipeline.OutcomeOf(msg.Context())
		untried := *outcome
		var pauses *backoff.ExponentialBackOff
		for {
			produced, err := h(msg)
			if !errors.Is(err, pipeline.ErrOutdated) {
				return produced, err
			}
			outcome.Reset(untried)
			if pauses == nil {
				pauses = Retry{Initial: rerunInitial}.pauses()
				pauses.MaxInterval = rerunMax
			}
			if stop := wait(msg, pauses.NextBackOff()); stop != nil {
				return nil, stop
			}
		}
	}
}
