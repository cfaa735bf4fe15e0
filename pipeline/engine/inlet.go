package engine

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Who dies under a lease is followed by another within leaseTTL and one poll:
// less than the 10 s that are promised.
const (
	leaseTTL    = 7 * time.Second
	leaseExtend = 2 * time.Second        // how often leases are made to last
	leaseNew    = time.Second            // how long nobody need ask whether one is still ours
	leaseAnswer = 3 * time.Second        // how long the store may take to give some; they count meanwhile
	inletPoll   = time.Second            // how late it may notice what others have put or given back
	inletMiss   = 100 * time.Millisecond // pause after what is due could not be had
	inletBatch  = 256                    // leased at a time, at most
)

// inlet is where a route's delayed messages come in again. It is a part of the
// source of the route's subscription: what is due is leased and handed to the
// same window, so that it takes its turn in its lane, counts as in flight, and
// is waited for when the route stops.
type inlet struct {
	handler string
	group   string
	store   store.Store
	log     *slog.Logger
	woken   chan struct{} // holds a token when there may be something new

	mu  sync.Mutex
	why string // why the store does not hand out what is due; "": it does
}

// newInlet returns nil where there is no store.
func (e *Engine) newInlet(r *route) *inlet {
	if e.opts.Store == nil {
		return nil
	}
	return &inlet{
		handler: r.handler.Name, group: r.sub.Name, store: e.opts.Store, log: r.log,
		woken: make(chan struct{}, 1),
	}
}

// with returns source with the inlet beside it.
func (i *inlet) with(source broker.Source) broker.Source {
	if i == nil {
		return source
	}
	return joined{source, i}
}

// joined is a source with an inlet.
type joined struct {
	broker.Source
	inlet *inlet
}

// Run implements broker.Source.
func (j joined) Run(ctx context.Context, w *broker.Window) error {
	inner, giveUp := context.WithCancel(ctx)
	defer giveUp()
	var beside sync.WaitGroup
	beside.Go(func() { j.inlet.run(inner, w) })
	err := j.Source.Run(ctx, w)
	select {
	case <-w.Draining(): // the inlet lets finish what runs, as the source has
	default: // the source has ended by itself
		giveUp()
	}
	beside.Wait()
	return err
}

// wake has the inlet look whether something is due.
func (i *inlet) wake() {
	if i == nil {
		return
	}
	select {
	case i.woken <- struct{}{}:
	default:
	}
}

// run takes in what is due until the window drains or ctx is done.
func (i *inlet) run(ctx context.Context, w *broker.Window) {
	claim := w.Claim(broker.ClaimOptions{Own: true})
	hand := newHand(i, claim)
	var keeping sync.WaitGroup
	inHand, over := context.WithCancel(ctx)
	defer over()
	keeping.Go(func() { hand.keep(inHand) })
	for i.open(ctx, w) {
		if !i.turn(ctx, w, hand) {
			break
		}
	}
	hand.giveBack(hand.shut()) // another instance need not wait for what has not begun
	_ = claim.Close(ctx)       // what still runs then is in hand
	over()
	keeping.Wait()
	hand.settle()
	hand.giveBack(hand.all())
}

// open waits while the window's intake is paused. False: the route stops.
func (i *inlet) open(ctx context.Context, w *broker.Window) bool {
	select {
	case <-w.Pausing():
	case <-w.Draining():
	case <-ctx.Done():
	}
	return !stops(ctx, w)
}

func stops(ctx context.Context, w *broker.Window) bool {
	select {
	case <-w.Draining():
		return true
	default:
		return ctx.Err() != nil
	}
}

// turn takes in what is due now, or waits for something to be. False: the
// route stops.
func (i *inlet) turn(ctx context.Context, w *broker.Window, hand *hand) bool {
	asked := time.Now()
	leases, pause, err := i.lease(ctx, min(max(w.Room(), 1), inletBatch))
	i.note(ctx, err)
	if len(leases) == 0 {
		return i.rest(ctx, w, pause)
	}
	for _, d := range hand.take(leases, asked.Add(leaseTTL)) { // all are in hand from now on, and made to last
		if hand.claim.Deliver(ctx, d) != nil {
			return false
		}
	}
	return true
}

// lease leases up to n messages that are due, or says when to look again.
func (i *inlet) lease(ctx context.Context, n int) ([]store.Lease, time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, leaseAnswer)
	defer cancel()
	at, ok, err := i.store.NextDue(ctx, i.handler)
	switch {
	case err != nil || !ok:
		return nil, inletPoll, err
	case time.Until(at) > 0:
		return nil, min(time.Until(at), inletPoll), nil
	}
	leases, err := i.store.LeaseDue(ctx, i.handler, n, leaseTTL)
	if err != nil {
		return nil, inletPoll, err
	}
	return leases, inletMiss, nil // by the store's clock it is too early, or others were faster
}

func (i *inlet) rest(ctx context.Context, w *broker.Window, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-i.woken:
	case <-w.Draining():
	case <-ctx.Done():
	}
	return !stops(ctx, w)
}

// note keeps, and tells once, that the store does not answer.
func (i *inlet) note(ctx context.Context, err error) {
	if err != nil && ctx.Err() != nil {
		return
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	switch {
	case err == nil && i.why != "":
		i.log.Info("the store hands out delayed messages again")
		i.why = ""
	case err != nil && i.why == "":
		i.log.Warn("delayed messages wait: " + err.Error())
		i.why = err.Error()
	}
}

// problem is why nothing is handed out, or "".
func (i *inlet) problem() string {
	if i == nil {
		return ""
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	return i.why
}

// delivery is a leased message on its way to its lane.
func (i *inlet) delivery(l *leased) broker.Delivery {
	msg := newMessage(l.DelayedMessage)
	return broker.Delivery{
		Message: msg, Position: l.pos, Lane: l.Key, Context: l.dress,
		Origin: pipeline.Origin{
			Topic: l.Topic, Group: i.group, Partition: l.Partition, Offset: l.Offset,
			Redelivered: l.Leases > 1, // it was in somebody's hands who did not end it
		},
	}
}
