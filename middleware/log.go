package middleware

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Log keeps in the message log what happens to each message. It stands outside
// of settle, whose outcome it writes: the log has no part in that. What never
// failed does not wait. What failed is not done before it is in the log: while
// the log is away the message is held, so that it does not vanish.
type Log struct {
	Log    *messagelog.Log // nil: nothing is kept, at no cost
	Route  messagelog.Route
	Holder Holder
}

// Middleware wraps h.
func (l Log) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if l.Log == nil {
		return h
	}
	// A write that was given up may have happened, and the next would tell of the
	// same attempts again. The writer bounds each by itself.
	l.Holder.Timeout = 0
	h = Recover(h) // no handling stays among those that run
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := pipeline.OutcomeOf(msg.Context())
		handling := l.Log.Begin(&l.Route, msg)
		outcome.Witness = handling
		produced, err := h(msg)
		return produced, outcome.Then(msg, err, func(_ *message.Message, _ *pipeline.Outcome, err error) error {
			defer handling.Close()
			if outcome.Result == "" { // the chain has panicked
				outcome.Result = pipeline.ResultStopped
			}
			if held := l.end(msg, handling, outcome); held != nil {
				return held
			}
			return err
		})
	}
}

// end writes the entry of a handling, if one is wanted.
func (l Log) end(msg *message.Message, handling *messagelog.Handling, outcome *pipeline.Outcome) error {
	entry, wanted := handling.End(outcome)
	if !wanted || l.Log.Keep(msg.Context(), entry) == nil {
		return nil
	}
	return l.hold(msg, entry)
}

// hold keeps the message in hand until its entry is in the log.
func (l Log) hold(msg *message.Message, entry store.LogEntry) error {
	return l.Holder.Until(msg, "write to the message log", func(ctx context.Context) error { return l.Log.Keep(ctx, entry) })
}
