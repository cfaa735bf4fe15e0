package broker

import (
	"context"
	"math"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// The pause before a nacked message is handed out again: doubled each time,
// jittered. The engine never nacks in normal running; this keeps whoever does
// from spinning.
const (
	nackPause    = 10 * time.Millisecond
	nackPauseMax = 5 * time.Second
)

// handOut hands out what may run, until the window drains. It does not wait for
// what it has handed out: that ends with settle, or when its claim lets go of
// it (Claim.Close).
func (w *Window) handOut() {
	for first := w.begin(); first != nil; first = w.begin() {
		w.send(w.gather(first))
	}
}

// begin waits for a delivery that may run, and begins it. Nil: the window
// drains.
func (w *Window) begin() *delivery {
	for {
		if w.slots != nil {
			select {
			case w.slots <- struct{}{}:
			case <-w.intake.Done():
				return nil
			}
		}
		select {
		case d := <-w.ready:
			w.passGate(d.claim)
			if w.begins(d) {
				return d
			}
		case <-w.intake.Done():
			return nil
		}
	}
}

// passGate waits while the intake is paused, and neither the claim nor the
// window ends.
func (w *Window) passGate(c *Claim) {
	if !w.paused.Load() {
		return
	}
	select {
	case <-w.Pausing():
	case <-w.intake.Done():
	case <-c.closing:
	}
}

// begins begins a delivery that has a slot. False: the claim or the window
// ends, and it was given back instead.
func (w *Window) begins(d *delivery) bool {
	w.handled.Add(1)
	if w.intake.Err() != nil || !d.claim.begin(d) {
		d.claim.giveBack(d)
		w.free(d)
		return false
	}
	w.dress(d)
	return true
}

// dress gives the message of a delivery the context of a run.
func (w *Window) dress(d *delivery) {
	if !w.bundles || d.nacks > 0 {
		d.msg = d.msg.Copy() // one that can be acked; or nothing of the run before is to be seen in it
	}
	if d.run = &d.first; d.nacks > 0 {
		d.run = &run{}
	}
	d.run.d = d
	d.run.Begin(d.claim.ctx, 0, &d.from)
	var ctx context.Context = d.run
	if d.context != nil {
		ctx = d.context(ctx)
	}
	d.msg.SetContext(ctx)
}

// gather begins what may run beside first. Before it says that nothing does, it
// lets run who is about to deliver.
func (w *Window) gather(first *delivery) []*delivery {
	ds := []*delivery{first}
	for yielded := false; w.bundles && len(ds) < bundleMost; {
		switch d := w.tryReady(); {
		case d != nil:
			if yielded = false; w.begins(d) {
				ds = append(ds, d)
			}
		case yielded:
			return ds
		default:
			runtime.Gosched()
			yielded = true
		}
	}
	return ds
}

// tryReady returns a delivery that may run now, with a slot, or nil.
func (w *Window) tryReady() *delivery {
	if w.paused.Load() {
		return nil
	}
	if w.slots != nil {
		select {
		case w.slots <- struct{}{}:
		default:
			return nil
		}
	}
	select {
	case d := <-w.ready:
		return d
	default:
		w.freeSlot()
		return nil
	}
}

func (w *Window) freeSlot() {
	if w.slots != nil {
		<-w.slots
	}
}

// send hands deliveries out that have begun. When the window drains first they
// end; those whose claim ends first it has let go of.
func (w *Window) send(ds []*delivery) {
	for {
		// A select takes either of two that are ready: without this look a message
		// could go out after its claim has ended, ahead of those of its lane that
		// were given back.
		ds = slices.DeleteFunc(ds, func(d *delivery) bool { return d.claim.ctx.Err() != nil })
		if len(ds) == 0 {
			return
		}
		if w.intake.Err() != nil {
			break
		}
		select {
		case w.out <- w.pack(ds):
			if !w.bundles {
				w.watch(ds[0])
			}
			return
		case <-w.intake.Done():
		case <-ds[0].claim.ctx.Done():
		}
	}
	for _, d := range ds {
		d.run.End()
		w.end(d, false)
	}
}

// pack makes one message of deliveries.
func (w *Window) pack(ds []*delivery) *message.Message {
	if w.bundles {
		return newBundle(messagesIn(ds))
	}
	return ds[0].msg
}

// settle ends a delivery that was acked; one that was nacked it hands out again
// after a pause.
func (w *Window) settle(d *delivery, acked bool) {
	if acked {
		d.run.End()
		w.end(d, true)
		return
	}
	d.claim.rest(d, func() { w.helpers.Go(func() { w.again(d) }) })
}

func (w *Window) again(d *delivery) {
	d.run.End()
	if !w.rest(d) {
		w.end(d, false)
		return
	}
	if !d.claim.restEnds(d) {
		return
	}
	d.nacks++
	w.dress(d)
	w.send([]*delivery{d})
}

// rest waits before a nacked message is handed out again. False: it is not
// to be, because the window or its claim ends.
func (w *Window) rest(d *delivery) bool {
	pause := min(float64(nackPause)*math.Pow(2, float64(min(d.nacks, 20))), float64(nackPauseMax))
	timer := time.NewTimer(time.Duration(pause * (0.75 + 0.5*rand.Float64()))) //nolint:gosec // jitter
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-w.intake.Done():
		return false
	case <-d.claim.closing:
		return false
	case <-d.claim.ctx.Done():
		return false
	}
}

// end ends a delivery, unless its claim has let go of it.
func (w *Window) end(d *delivery, acked bool) {
	if d.claim.end(d, acked) {
		w.free(d)
		d.claim.ended()
	}
}

// free frees what a delivery has that was to run.
func (w *Window) free(d *delivery) {
	w.handled.Add(-1)
	w.leave(d)
	w.freeSlot()
}

// watch has a delivery settled as its message is.
func (w *Window) watch(d *delivery) {
	msg := d.msg
	w.helpers.Go(func() {
		select {
		case <-msg.Acked():
			w.settle(d, true)
		case <-msg.Nacked():
			w.settle(d, false)
		case <-d.claim.ctx.Done(): // the claim lets go of it
			select {
			case <-msg.Acked(): // at the last moment
				w.settle(d, true)
			default:
			}
		}
	})
}

// run is the context of a message that a handler has: it knows its delivery.
type run struct {
	pipeline.Scope
	d *delivery
}

type deliveryKey struct{}

// Value implements context.Context.
func (r *run) Value(key any) any {
	if key == (deliveryKey{}) {
		return r.d
	}
	return r.Scope.Value(key)
}
