package broker

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/semaphore"

	"github.com/waybill-dev/waybill/pipeline"
)

// Window bounds and orders what a subscription has in hand. See the package
// comment. Sources reach it through Claim; the rest of Waybill through
// Subscriber.
type Window struct {
	sub     Subscription
	out     chan *message.Message
	bundles bool // how messages go out; see Subscriber.Bundles

	ready chan *delivery      // deliveries whose lane is free
	room  chan struct{}       // holds a token for each message in hand
	bytes *semaphore.Weighted // counts bytes; nil: no bound
	slots chan struct{}       // holds a token for each message that runs; nil: all in hand may

	recent recent // what was delivered last

	life    context.Context // ends when the window is to let go of everything
	intake  context.Context // ends, with life or before, when nothing more is to be taken
	drain   context.CancelFunc
	helpers sync.WaitGroup // handOut, and those of messages: watch, again

	mu     sync.Mutex
	lanes  map[string]lane // a lane is here while a message of its key is in hand
	gate   chan struct{}   // closed while the intake is open; a new one while paused
	holds  int             // how many have paused the intake
	paused atomic.Bool     // whether somebody has

	inHand  atomic.Int64 // taken and not settled
	handled atomic.Int64 // of these, begun: with a handler, or about to be
}

// delivery is a message on its way through the window.
type delivery struct {
	claim *Claim
	msg   *message.Message
	lane  string
	pos   int64
	size  int64
	from  pipeline.Origin
	next  *delivery // the one behind it in its lane

	context func(context.Context) context.Context // see Delivery; may be nil

	run   *run // its context, which ends when it is settled
	first run  // the first of them
	nacks int

	// Under its claim's mutex.
	runs          bool      // begun, and not ended
	rests         bool      // it was nacked, and is not handed out again yet
	before, after *delivery // its neighbours in the claim's list of those
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
	if sub.Concurrency < sub.InFlight {
		w.slots = make(chan struct{}, sub.Concurrency)
	}
	close(w.gate)
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
		w.paused.Store(true)
	}
}

func (w *Window) resume() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.holds--; w.holds == 0 {
		close(w.gate)
		w.paused.Store(false)
	}
}

// admit waits for room for a message of that size.
func (w *Window) admit(ctx context.Context, size int64) error {
	if !w.tryRoom() {
		if err := w.waitForRoom(ctx); err != nil {
			return err
		}
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

// tryRoom takes room if there is some now, which costs less than to wait.
func (w *Window) tryRoom() bool {
	if w.paused.Load() || w.intake.Err() != nil {
		return false
	}
	select {
	case w.room <- struct{}{}:
		return true
	default:
		return false
	}
}

func (w *Window) waitForRoom(ctx context.Context) error {
	select {
	case <-w.Pausing():
	case <-w.intake.Done():
		return ErrDraining
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case w.room <- struct{}{}:
		return nil
	case <-w.intake.Done():
		return ErrDraining
	case <-ctx.Done():
		return ctx.Err()
	}
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
			queue.first, next.next = next.next, nil // who keeps one message does not keep all behind it
			if queue.first == nil {
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
