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
	return func(msg *message.Message) ([]*message.Message, error) {
		untried := *pipeline.OutcomeOf(msg.Context())
		produced, err := h(msg)
		if err == nil || !errors.Is(err, pipeline.ErrOutdated) && !away(err) {
			return produced, err
		}
		again := &rerun{msg, h, untried, produced, err}
		return again.until(r.Holder)
	}
}

// rerun is a message that runs again.
type rerun struct {
	msg     *message.Message
	handler message.HandlerFunc
	untried pipeline.Outcome

	produced []*message.Message // what came of the last run
	err      error
}

func (r *rerun) reset() { pipeline.OutcomeOf(r.msg.Context()).Reset(r.untried) }

func (r *rerun) run() { r.produced, r.err = r.handler(r.msg) }

// until runs it until the store is there, and what the kind saw of it, too.
func (r *rerun) until(holder Holder) ([]*message.Message, error) {
	r.onWhatIsThere()
	if !away(r.err) {
		return r.produced, r.err
	}
	held := holder.Until(r.msg, "use the store", func(context.Context) error {
		r.reset()
		r.run()
		if r.onWhatIsThere(); away(r.err) {
			return r.err
		}
		return nil
	})
	if held != nil {
		return nil, held
	}
	return r.produced, r.err
}

// onWhatIsThere runs it until what it saw is what is there.
func (r *rerun) onWhatIsThere() {
	var pauses *backoff.ExponentialBackOff
	for errors.Is(r.err, pipeline.ErrOutdated) {
		r.reset()
		if pauses == nil {
			pauses = Retry{Initial: rerunInitial}.pauses()
			pauses.MaxInterval = rerunMax
		}
		if stop := wait(r.msg, pauses.NextBackOff()); stop != nil {
			r.produced, r.err = nil, stop
			return
		}
		r.run()
	}
}

// away reports whether the store was away, and Waybill is not stopping.
func away(err error) bool {
	return errors.Is(err, store.ErrUnavailable) && !errors.Is(err, pipeline.ErrStopping)
}
