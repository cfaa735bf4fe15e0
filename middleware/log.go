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
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := pipeline.OutcomeOf(msg.Context())
		handling := l.Log.Begin(&l.Route, msg)
		defer handling.Close()
		outcome.Witness = handling
		produced, err := h(msg)
		entry, wanted := handling.End(outcome)
		if !wanted {
			return produced, err
		}
		if l.Log.Keep(msg.Context(), entry) == nil {
			return produced, err
		}
		if held := l.hold(msg, entry); held != nil {
			return nil, held
		}
		return produced, err
	}
}

// hold keeps the message in hand until its entry is in the log.
func (l Log) hold(msg *message.Message, entry store.LogEntry) error {
	return l.Holder.Until(msg, "write to the message log", func(ctx context.Context) error { return l.Log.Keep(ctx, entry) })
}
