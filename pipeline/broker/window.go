package broker

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/semaphore"

	"github.com/waybill-dev/waybill/pipeline"
)

// The pause before a nacked message is handed out again: doubled each time,
// jittered. The engine never nacks in normal running; this keeps whoever does
// from spinning.
const (
	nackPause    = 10 * time.Millisecond
	nackPauseMax = 5 * time.Second
)

// Window bounds and orders what a subscription has in hand. See the package
// comment. Sources reach it through Claim; the rest of Waybill through
// Subscriber.
type Window struct {
	sub   Subscription
	out   chan *message.Message
	ready chan *delivery // deliveries whose lane is free

	room  chan struct{}       // holds a token for each message in hand
	bytes *semaphore.Weighted // counts bytes; nil: no bound

	recent recent // what was delivered last

	life    context.Context // ends when the window is to let go of everything
	intake  context.Context // ends, with life or before, when nothing more is to be taken
	drain   context.CancelFunc
	workers sync.WaitGroup

	mu    sync.Mutex
	lanes map[string]lane // a lane is here while a message of its key is in hand
	gate  chan struct{}   // closed while the intake is open; a new one while paused
	holds int             // how many have paused the intake

	inHand  atomic.Int64 // taken and not settled
	handled atomic.Int64 // of these, with a handler
}

// delivery is a message on its way through the window.
type delivery struct {
	claim *Claim
	msg   *message.Message
	lane  string
	pos   int64
	size  int64
	from  *pipeline.Origin
	next  *delivery // the one behind it in its lane

	context func(context.Context) context.Context // see Delivery; may be nil
}

// lane is the queue of messages that wait for the one of their key that runs.
type lane struct{ first, last *delivery }

func newWindow(life context.Context, sub Subscription) *Window {
	w := &Window{
		sub:   sub,
		out:   make(chan *message.Message),
		ready: make(chan *delivery, sub.InFlight),
		room:  make(chan struct{}, sub.InFlight),
		life:  life,
		lanes: make(map[string]lane),
		gate:  make(chan struct{}),
		// All that the broker has not heard of: as much in hand, and as much
		// whose acknowledgement is on its way.
		recent: newRecent(2 * sub.InFlight),
	}
	w.intake, w.drain = context.WithCancel(life)
	if sub.InFlightBytes > 0 {
		w.bytes = semaphore.NewWeighted(sub.InFlightBytes)
	}
	close(w.gate)
	for range sub.Concurrency {
		w.workers.Go(w.work)
	}
	return w
}

// Draining is closed when the source is to take no more messages, close its
// claims, flush what is done and return from Run.
func (w *Window) Draining() <-chan struct{} { return w.intake.Done() }

// Pausing returns a channel that is closed while the intake is open. A source
// that must do more than let Deliver block (Kafka's pause) waits on it.
func (w *Window) Pausing() <-chan struct{} {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.gate
}

// InFlight returns how many messages are taken and not yet settled.
func (w *Window) InFlight() int { return int(w.inHand.Load()) }

// Room returns how many messages can be taken now.
func (w *Window) Room() int { return cap(w.room) - len(w.room) }

// pause closes the intake until the matching resume. Pauses add up.
func (w *Window) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds++; w.holds == 1 {
		w.gate = make(chan struct{})
	}
}

func (w *Window) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds--; w.holds == 0 {
		close(w.gate)
	}
}

// admit waits for room for a message of that size.
func (w *Window) admit(ctx context.Context, size int64) error {
	select {
	case <-w.Pausing():
	case <-w.intake.Done():
		return ErrDraining
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case w.room <- struct{}{}:
	case <-w.intake.Done():
		return ErrDraining
	case <-ctx.Done():
		return ctx.Err()
	}
	if w.bytes == nil || w.bytes.TryAcquire(w.charge(size)) {
		return nil
	}
	if err := w.waitForBytes(ctx, size); err != nil {
		<-w.room
		return err
	}
	return nil
}

func (w *Window) waitForBytes(ctx context.Context, size int64) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.intake, cancel)()
	if err := w.bytes.Acquire(ctx, w.charge(size)); err != nil {
		return w.refusal(err)
	}
	return nil
}

func (w *Window) refusal(err error) error {
	if w.intake.Err() != nil {
		return ErrDraining
	}
	return err
}

// charge is what a message of that size takes of the bytes. One that is
// larger than the whole window passes alone.
func (w *Window) charge(size int64) int64 { return min(max(size, 1), w.sub.InFlightBytes) }

func (w *Window) release(d *delivery) {
	w.inHand.Add(-1)
	if w.bytes != nil {
		w.bytes.Release(w.charge(d.size))
	}
	<-w.room
}

// enter puts an admitted delivery into its lane.
func (w *Window) enter(d *delivery) {
	w.inHand.Add(1)
	if d.lane == "" {
		w.ready <- d // never blocks: ready holds InFlight
		return
	}
	w.mu.Lock()
	queue, busy := w.lanes[d.lane]
	if busy {
		if queue.last == nil {
			queue.first = d
		} else {
			queue.last.next = d
		}
		queue.last = d
	}
	w.lanes[d.lane] = queue
	w.mu.Unlock()
	if !busy {
		w.ready <- d
	}
}

// leave frees the delivery's place and lets the next of its lane go.
func (w *Window) leave(d *delivery) {
	if d.lane != "" {
		w.mu.Lock()
		queue := w.lanes[d.lane]
		next := queue.first
		if next == nil {
			delete(w.lanes, d.lane)
		} else {
			if queue.first = next.next; queue.first == nil {
				queue.last = nil
			}
			w.lanes[d.lane] = queue
		}
		w.mu.Unlock()
		if next != nil {
			w.ready <- next
		}
	}
	w.release(d)
}

// work hands out one delivery at a time, until the window drains.
func (w *Window) work() {
	for {
		select {
		case <-w.intake.Done():
			return
		case d := <-w.ready:
			if w.passGate(d.claim) && d.claim.begin() {
				d.claim.end(d, w.handOut(d))
			} else {
				d.claim.giveBack(d)
			}
			w.leave(d)
		}
	}
}

// passGate waits while the intake is paused. False: the claim or the window
// ends instead.
func (w *Window) passGate(c *Claim) bool {
	select {
	case <-w.Pausing():
		return true
	case <-w.intake.Done():
		return false
	case <-c.closing:
		return false
	}
}

// handOut gives the message to a handler, again after each nack, and reports
// whether it was acked. False: it goes back to the broker.
func (w *Window) handOut(d *delivery) (acked bool) {
	msg := d.msg
	for nacks := 0; ; nacks++ {
		ctx := pipeline.NewScope(d.claim.ctx, 0)
		msg.SetContext(d.dress(handed{ctx, d}))
		acked, again := w.await(d.claim, msg)
		ctx.End()
		if acked || !again || !w.rest(d, nacks) {
			return acked
		}
		msg = d.msg.Copy()
	}
}

// dress adds to the context of a message what is known of it.
func (d *delivery) dress(ctx context.Context) context.Context {
	ctx = pipeline.WithOrigin(ctx, d.from)
	if d.context != nil {
		ctx = d.context(ctx)
	}
	return ctx
}

// await sends msg out and waits until it is settled.
func (w *Window) await(c *Claim, msg *message.Message) (acked, again bool) {
	ctx := c.ctx // the message's own ends with it, and must not be waited for; see pipeline.Scope
	// A select takes either of two that are ready: without this look a message
	// could go out after its claim has ended, ahead of those of its lane that
	// were given back.
	if w.intake.Err() != nil || ctx.Err() != nil {
		return false, false
	}
	select {
	case w.out <- msg:
	case <-w.intake.Done():
		return false, false
	case <-ctx.Done():
		return false, false
	}
	w.handled.Add(1)
	defer w.handled.Add(-1)
	select {
	case <-msg.Acked():
		return true, false
	case <-msg.Nacked():
		return false, true
	case <-ctx.Done():
		// Both may be true: a handler that finished as its claim ended.
		select {
		case <-msg.Acked():
			return true, false
		default:
			return false, false
		}
	}
}

// rest waits before a nacked message is handed out again. False: it is not
// to be, because the window or its claim ends.
func (w *Window) rest(d *delivery, nacks int) bool {
	pause := min(float64(nackPause)*math.Pow(2, float64(min(nacks, 20))), float64(nackPauseMax))
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

// handed is the context of a message that a handler has: it knows its
// delivery.
type handed struct {
	*pipeline.Scope
	d *delivery
}

type claimKey struct{}

func (h handed) Value(key any) any {
	if key == (claimKey{}) {
		return h.d
	}
	return h.Scope.Value(key)
}
