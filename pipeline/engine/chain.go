package engine

import (
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/journal"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
)

// How long one try to publish may take, and the pauses between tries while
// the place of an outcome is away.
const (
	publishTimeout = 15 * time.Second
	holdInitial    = 100 * time.Millisecond
	holdMax        = 30 * time.Second
)

// chain puts the kind into its middleware. This is the one place that knows
// their order; each line says why it stands where it stands. The first is the
// outermost.
func (e *Engine) chain(r *route, kind message.HandlerFunc) message.HandlerFunc {
	h := r.handler
	holder := middleware.Holder{Hold: r.stall, Timeout: publishTimeout, Initial: holdInitial, Max: holdMax}
	send := e.sender()
	order := e.newOrder(r, holder)
	r.order = order
	delay := e.delay(r, order)
	var attempts *journal.Handler
	if e.opts.Journal != nil {
		attempts = e.opts.Journal.Handler(h.Name, h.From, h.Timeout)
	}
	return compose(kind,
		// One span around all that happens to the message, waiting included.
		middleware.Trace{Tracer: e.opts.Tracer, Topic: h.From, Group: r.sub.Name}.Middleware,
		// Makes the outcome, in which ids have their room, and counts what settle
		// decided, so it stands outside of both.
		e.metrics.record(r).Middleware,
		// Ids next, so that every log line inside carries them.
		middleware.Correlation,
		// It writes what became of the message.
		middleware.Log{Log: e.opts.Messages, Route: e.logRoute(r), Holder: holder}.Middleware,
		// Outside of settle: what a delayed message did before is part of its
		// outcome, and so is its end in the store.
		e.resumed(r, delay, order).Middleware,
		// Nothing outside of settle may fail: from here on an error is an outcome.
		middleware.Settle{
			Handler: h.Name, Group: r.sub.Name, DeadLetter: h.DeadLetter, Parking: h.Parking(), MaxReplays: h.MaxReplays,
			Delay: delay, Send: send, Holder: holder, Log: r.log,
		}.Middleware,
		// Right inside of settle, which puts what must wait behind another of its
		// key: no receipt is looked up and nothing runs for it.
		order.Middleware,
		// Inside of settle, which buries what is quarantined; outside of all that
		// would run or keep a message first which is not to run any more.
		middleware.Suspects{Journal: attempts, Holder: holder}.Middleware,
		// Outside of publish, which finds out that what the kind saw is not so any
		// more; inside of settle, since that is no failure of the message.
		middleware.Rerun{Holder: holder}.Middleware,
		// Outside of retry: an output that cannot be published now is held with
		// its bytes as they are, and the kind, whose effects are done, does not
		// run again for it.
		// Whoever stands outside of it may be told of its end later, see Then.
		middleware.Publish{Handler: h.Name, Topics: h.To, Send: send, Holder: holder, Flights: e.flights}.Middleware,
		// Outside of retry: one reservation for all runs. Inside of publish, which
		// writes the receipt with the outputs that it sends.
		e.receipts.around(r, holder),
		// Outside of the breaker, so that a message that waits for the breaker
		// burns no attempt.
		middleware.Retry{Immediate: h.Retry.Immediate, Initial: h.Retry.Initial, OnRetry: e.metrics.retried(r), Delayed: delay.Left}.Middleware,
		// Outside of the throttle: while it is open nobody takes a turn.
		middleware.Breaker{
			Name: h.Name, Failures: h.Breaker.Failures, Window: h.Breaker.Window, OpenFor: h.Breaker.OpenFor,
			Stall: r.stall,
		}.Middleware,
		// Outside of the timeout: waiting for a turn is not running.
		middleware.Throttle{PerSecond: h.Throttle.PerSecond, Burst: h.Throttle.Burst}.Middleware,
		// Outside of the timeout, too: and released before the outputs are
		// published, whose confirms then cost no slot.
		middleware.Slots{Number: h.Concurrency}.Middleware,
		// Around the run alone, which is what kills: whoever is held, or waits
		// for the breaker, neither keeps a suspect from running alone nor is
		// taken for one. Outside of the timeout: waiting for that is not running.
		middleware.Journal{Journal: attempts, Holder: holder}.Middleware,
		// Outside of recover, which must see the panic of the very run.
		middleware.Timeout{After: h.Timeout}.Middleware,
		// Closest to the kind: a panic becomes an error like any other.
		middleware.Recover,
	)
}

// logRoute is what the message log says of each message of the route.
func (e *Engine) logRoute(r *route) messagelog.Route {
	return messagelog.Route{
		Handler: r.handler.Name, Topic: r.handler.From, Subscription: r.sub.Name,
		Key: func(msg *message.Message) string { return broker.Key(r.sub.Topic, msg) },
	}
}

// compose wraps kind so that the first of around is the outermost.
func compose(kind message.HandlerFunc, around ...message.HandlerMiddleware) message.HandlerFunc {
	for _, m := range slices.Backward(around) {
		kind = m(kind)
	}
	return kind
}
