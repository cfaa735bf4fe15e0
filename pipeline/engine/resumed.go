package engine

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// delay is how a route's messages get into the store.
func (e *Engine) delay(r *route, o *order) middleware.Delay {
	return middleware.Delay{
		Handler: r.handler.Name, Policy: r.handler.Retry.Delayed, Overtake: r.handler.Overtake, Store: e.opts.Store, Lane: broker.LaneOf,
		OnDelay: func(lane string) {
			o.add(lane)
			r.inlet.wake()
		},
	}
}

// resumed has a message that comes from the store go on from where it was, and
// gives each outcome the store's part in it: the end of the message's wait and
// of its dead letter, or its place in its key though it is dead.
type resumed struct {
	handler pipeline.Handler
	store   store.Store
	delay   middleware.Delay
	order   *order
	retried func()
}

func (e *Engine) resumed(r *route, d middleware.Delay, o *order) *resumed {
	return &resumed{handler: r.handler, store: e.opts.Store, delay: d, order: o, retried: e.metrics.delayed(r)}
}

// Middleware wraps h.
func (m *resumed) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if m.store == nil {
		return h
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := pipeline.OutcomeOf(msg.Context())
		l := leasedOf(msg.Context())
		if l == nil {
			m.fresh(msg, outcome)
		} else {
			switch outcome.Result = l.begin(); outcome.Result {
			case pipeline.ResultStopped:
				return nil, pipeline.ErrStopping
			case pipeline.ResultVoid:
				return nil, nil
			}
			m.leased(&l.Lease, outcome)
		}
		produced, err := h(msg)
		if outcome.Result == pipeline.ResultDead && m.handler.HoldKey { // by now the store says so
			m.order.add(broker.LaneOf(msg))
		}
		return produced, err
	}
}

// fresh is a message that its broker handed out.
func (m *resumed) fresh(msg *message.Message, outcome *pipeline.Outcome) {
	origin := pipeline.OriginOf(msg.Context())
	again := origin != nil && origin.Redelivered && pipeline.Identified(msg)
	holds := m.handler.HoldKey && broker.LaneOf(msg) != ""
	if !again && !holds {
		return
	}
	outcome.Settling(func(r pipeline.Result) pipeline.Write {
		switch {
		case r == pipeline.ResultOK && again: // it may have died before
			return m.store.CloseLetter(m.handler.Name, msg.UUID, 0)
		case r == pipeline.ResultDead && holds:
			return m.store.Delay(m.parked(m.delay.Message(msg), outcome))
		}
		return nil
	})
}

// leased is a message that waited in the store.
func (m *resumed) leased(l *store.Lease, outcome *pipeline.Outcome) {
	outcome.Attempts, outcome.First, outcome.Reason = l.Attempts, l.First, l.Reason
	if l.Rounds > 0 {
		m.retried()
	}
	outcome.Settling(func(r pipeline.Result) pipeline.Write {
		switch {
		case r == pipeline.ResultDelayed: // that write says itself what becomes of the lease
			return nil
		case r == pipeline.ResultDead && m.handler.HoldKey && l.Key != "" && !l.Overtake:
			parked := *l
			parked.DelayedMessage = m.parked(l.DelayedMessage, outcome)
			return m.store.DelayAgain(parked)
		}
		return m.store.EndDelayed(*l)
	})
	outcome.Settling(func(r pipeline.Result) pipeline.Write {
		if r == pipeline.ResultOK {
			return m.store.CloseLetter(l.Handler, l.Message, l.Letter)
		}
		return nil
	})
}

// parked is a message that is dead and keeps its place in its key, until its
// letter is replayed or archived.
func (m *resumed) parked(d store.DelayedMessage, o *pipeline.Outcome) store.DelayedMessage {
	d.Parked, d.Attempts, d.First, d.Reason, d.Error = true, o.Attempts, o.First, o.Reason, o.Err.Error()
	return d
}
