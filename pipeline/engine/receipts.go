package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// A reservation counts for receiptLease since it was made or renewed. That is
// how long a message waits whose effect another instance began before it died.
const (
	receiptLease    = 8 * time.Second
	receiptRenew    = receiptLease / 4
	receiptsExpire  = time.Hour
	receiptsAtATime = 1000
)

// receipts are those of the engine's effects.
type receipts struct {
	store  store.Store   // nil: there are none
	keep   time.Duration // 0 or less: for ever
	owner  string
	inHand middleware.InHand
	log    *slog.Logger

	used bool // some handler has effects
	over context.CancelFunc
	task sync.WaitGroup
}

// around returns what surrounds the kind of a route: nothing if it has no
// effect, or there is no store.
func (rs *receipts) around(r *route, holder middleware.Holder) message.HandlerMiddleware {
	if rs.store == nil || r.once == nil {
		return func(h message.HandlerFunc) message.HandlerFunc { return h }
	}
	rs.used = true
	return middleware.Receipts{
		Once: *r.once, Effect: r.handler.Name, Owner: rs.owner, Lease: receiptLease,
		Store: rs.store, InHand: &rs.inHand, Holder: holder, Log: r.log,
	}.Middleware
}

// onceOf says how a handler's effect is kept from happening twice; nil: it has
// none.
func onceOf(kind pipeline.Kind, config any) *pipeline.Once {
	switch {
	case !kind.Effect:
		return nil
	case kind.Once == nil:
		return pipeline.OncePerID()
	}
	return kind.Once(config)
}

// start begins to look after the receipts, until stop.
func (rs *receipts) start() {
	if !rs.used {
		return
	}
	var ctx context.Context
	ctx, rs.over = context.WithCancel(context.Background())
	rs.task.Go(func() { every(ctx, receiptRenew, rs.renew) })
	rs.task.Go(func() { // beside: nothing in hand may wait for it
		rs.expire(ctx)
		every(ctx, receiptsExpire, rs.expire)
	})
}

// stop ends that. What is in hand is over then.
func (rs *receipts) stop() {
	if rs.over != nil {
		rs.over()
	}
	rs.task.Wait()
}

// every calls f at intervals until ctx is done.
func every(ctx context.Context, interval time.Duration, f func(context.Context)) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			f(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// renew keeps other instances from what is in hand here for long.
func (rs *receipts) renew(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, receiptRenew)
	defer cancel()
	if err := rs.store.RenewReceipts(ctx, rs.owner, rs.inHand.Longer(receiptRenew)...); err != nil && ctx.Err() == nil {
		rs.log.Warn("another instance may begin effects that are in hand here: " + err.Error())
	}
}

// expire deletes old receipts, some at a time, so that nobody waits for long.
func (rs *receipts) expire(ctx context.Context) {
	if rs.keep <= 0 {
		return
	}
	for {
		n, err := rs.store.ExpireReceipts(ctx, time.Now().Add(-rs.keep), receiptsAtATime)
		if err != nil && ctx.Err() == nil {
			rs.log.Warn("old receipts stay for now: " + err.Error())
		}
		if err != nil || n < receiptsAtATime {
			return
		}
	}
}
