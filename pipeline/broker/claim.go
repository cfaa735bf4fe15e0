package broker

import (
	"cmp"
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Claim is one ordered run of deliveries that a source takes and acknowledges:
// a RabbitMQ channel, a Kafka partition for as long as it is ours, the cursor
// of the embedded broker. A source makes one with Window.Claim, gives it
// messages with Deliver, acknowledges what Take says whenever Changed fires,
// and ends it with Close.
type Claim struct {
	w      *Window
	opts   ClaimOptions
	whole  string          // the lane of all its messages, for `ordering: partition`
	ctx    context.Context // parent of the contexts of its messages
	cancel context.CancelCauseFunc

	begun time.Time // when the first message was delivered; set before that is handed out

	mu      sync.Mutex
	tracker tracker
	running int           // deliveries begun and not ended
	newest  *delivery     // of these; see delivery.before
	closed  bool          // no delivery may begin any more
	closing chan struct{} // closed with it
	idle    chan struct{} // closed when closed and nothing runs
	below   chan struct{} // closed when a delivery at next keeps the span; nil: nobody waits
	next    int64

	changed chan struct{} // holds a token while there is something to take
}

// ClaimOptions are set by the source.
type ClaimOptions struct {
	// Partition is what the claim takes, as its messages' origins say; 0 where
	// the broker has none. It is their lane, for `ordering: partition`.
	Partition int32
	// MaxSpan bounds how many positions lie between the first open one and
	// the newest, so that what a source must remember of a claim is bounded
	// though its head may be stuck. 0: no bound.
	MaxSpan int
	// Own says that the messages are of our own making: there is nothing to
	// acknowledge at a broker, and ClaimOf does not know them.
	Own bool
}

// Delivery is one message as a source took it.
type Delivery struct {
	Message  *message.Message
	Key      string          // what orders it under `ordering: key`; "": nothing
	Position int64           // its place in the claim: rising, gaps allowed, not negative
	Origin   pipeline.Origin // where it was read

	// Of a claim of our own. Lane is what orders it, whatever the ordering is;
	// "": nothing. Context adds to the context with which it is handed out; may
	// be nil.
	Lane    string
	Context func(context.Context) context.Context
}

// Claim begins a run of deliveries.
func (w *Window) Claim(opts ClaimOptions) *Claim {
	closing := make(chan struct{})
	ctx, cancel := context.WithCancelCause(pipeline.WithDraining(w.life, closing))
	return &Claim{
		w: w, opts: opts, ctx: ctx, cancel: cancel,
		whole:   PartitionLane(opts.Partition),
		tracker: newTracker(),
		closing: closing,
		idle:    make(chan struct{}),
		changed: make(chan struct{}, 1),
	}
}

// Deliver hands a message in. It waits while the window is full or paused; an
// error (ErrDraining, or ctx's) says that the message was not taken. Calls
// for one claim must not overlap.
func (c *Claim) Deliver(ctx context.Context, d Delivery) error {
	size := int64(len(d.Message.Payload))
	if err := c.waitForSpan(ctx, d.Position); err != nil {
		return err
	}
	if err := c.w.admit(ctx, size); err != nil {
		return err
	}
	if c.begun.IsZero() {
		c.begun = time.Now()
	}
	if !c.opts.Own {
		// Is it one that comes again because a connection was lost, or one that another
		// process had?
		d.Origin.Returned = c.w.recent.note(d.Message.UUID, d.Origin.Redelivered)
	}
	c.mu.Lock()
	c.tracker.add(d.Position)
	c.mu.Unlock()
	c.w.enter(&delivery{claim: c, msg: d.Message, lane: c.lane(d), pos: d.Position, size: size, from: d.Origin, context: d.Context})
	return nil
}

// Skip records a position that needs no handling: done before a restart, or
// nothing that is a message.
func (c *Claim) Skip(pos int64) {
	c.mu.Lock()
	c.tracker.add(pos)
	c.tracker.mark(pos, entryDone)
	c.mu.Unlock()
	c.signal()
}

func (c *Claim) lane(d Delivery) string {
	if c.opts.Own {
		return d.Lane
	}
	switch c.w.sub.Ordering {
	case pipeline.OrderingKey:
		return d.Key
	case pipeline.OrderingPartition:
		return c.whole
	}
	return ""
}

// Changed fires when there may be something new to take.
func (c *Claim) Changed() <-chan struct{} { return c.changed }

// Take returns what is done since the last Take. The slices of p are reused.
func (c *Claim) Take(p Progress) Progress {
	c.mu.Lock()
	defer c.mu.Unlock()
	p = c.tracker.take(p)
	c.wakeSpan()
	return p
}

// Above lists all positions above the prefix that are done, for a source that
// stores them whole.
func (c *Claim) Above(into []int64) []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.tracker.above(into)
}

// Close lets no more of the claim's messages begin, and waits until those that
// run are settled or ctx is done; then it ends their contexts with cause
// pipeline.ErrStopping and lets go of them. What is done can be taken
// afterwards; the rest is to go back to the broker. It returns ctx's error if
// something still ran.
func (c *Claim) Close(ctx context.Context) error {
	c.mu.Lock()
	if !c.closed {
		c.closed = true
		close(c.closing)
		if c.running == 0 {
			close(c.idle)
		}
	}
	c.mu.Unlock()
	defer c.cancel(pipeline.ErrStopping)
	select {
	case <-c.idle:
		return nil
	default:
	}
	select {
	case <-c.idle:
		return nil
	case <-ctx.Done():
		c.cancel(pipeline.ErrStopping)
	case <-c.ctx.Done(): // the window lets go of everything
	}
	c.letGo()
	return cmp.Or(ctx.Err(), c.ctx.Err())
}

// letGo ends what runs, as far as the window is concerned.
func (c *Claim) letGo() {
	for {
		c.mu.Lock()
		d := c.newest
		c.mu.Unlock()
		if d == nil {
			return
		}
		c.w.end(d, false)
	}
}

// begin reports whether a delivery of the claim may still be handed out. It is
// one that runs then, until end.
func (c *Claim) begin(d *delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	c.running++
	d.runs, d.before, c.newest = true, c.newest, d
	if d.before != nil {
		d.before.after = d
	}
	return true
}

// end records how a delivery has ended. False: it does not run, or was nacked
// and is not to be acked. Who gets true calls ended.
func (c *Claim) end(d *delivery, acked bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !d.runs || acked && d.rests {
		return false
	}
	c.unlink(d)
	if acked {
		c.tracker.mark(d.pos, entryDone)
		c.signal()
	} else {
		c.tracker.mark(d.pos, entryGiven)
	}
	return true
}

// ended counts a delivery whose place in the window is free.
func (c *Claim) ended() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.running--; c.running == 0 && c.closed {
		close(c.idle)
	}
}

func (c *Claim) unlink(d *delivery) {
	if d.before != nil {
		d.before.after = d.after
	}
	if d.after != nil {
		d.after.before = d.before
	} else {
		c.newest = d.before
	}
	d.runs, d.before, d.after = false, nil, nil
}

// rest has a delivery that was nacked begin its rest, with f. One that does not
// run has none; nobody lets go of it while f is called.
func (c *Claim) rest(d *delivery, f func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if d.runs && !d.rests {
		d.rests = true
		f()
	}
}

// restEnds reports whether a delivery that has rested still runs.
func (c *Claim) restEnds(d *delivery) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	d.rests = false
	return d.runs
}

func (c *Claim) giveBack(d *delivery) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tracker.mark(d.pos, entryGiven)
}

func (c *Claim) signal() {
	select {
	case c.changed <- struct{}{}:
	default:
	}
}

// waitForSpan waits until pos is within the claim's span.
func (c *Claim) waitForSpan(ctx context.Context, pos int64) error {
	c.mu.Lock()
	if c.within(pos) {
		c.mu.Unlock()
		return nil
	}
	below := make(chan struct{})
	c.below, c.next = below, pos
	c.mu.Unlock()
	select {
	case <-below:
		return nil
	case <-c.w.intake.Done():
		return ErrDraining
	case <-ctx.Done():
		return ctx.Err()
	}
}

// within reports whether a delivery at pos keeps the claim's span. Positions
// are what counts, not deliveries: where the broker has gaps there are fewer.
func (c *Claim) within(pos int64) bool {
	return c.opts.MaxSpan == 0 || c.tracker.size == 0 || pos-c.tracker.at(0).pos < int64(c.opts.MaxSpan)
}

func (c *Claim) wakeSpan() {
	if c.below != nil && c.within(c.next) {
		close(c.below)
		c.below = nil
	}
}

// Running returns how many of the claim's messages have begun and not ended.
func (c *Claim) Running() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running
}

// Broker is the name of the broker that the claim's messages come from.
func (c *Claim) Broker() string { return c.w.sub.Topic.Broker }

// Begun returns when the claim's first message came. For one that has
// delivered.
func (c *Claim) Begun() time.Time { return c.begun }

// ClaimOf returns the claim and the position under which msg was delivered,
// or nil for a message of our own making. Drivers use it in Commit.
func ClaimOf(msg *message.Message) (*Claim, int64) {
	d := deliveryOf(msg)
	if d == nil || d.claim.opts.Own {
		return nil, noPosition
	}
	return d.claim, d.pos
}

// PartitionLane returns the name of the lane of all that is in a partition, for
// `ordering: partition`.
func PartitionLane(partition int32) string { return "p" + strconv.Itoa(int(partition)) }

// LaneOf returns the name of the lane in which msg was delivered; "": nothing
// orders it. It is the same in every instance.
func LaneOf(msg *message.Message) string {
	if d := deliveryOf(msg); d != nil {
		return d.lane
	}
	return ""
}

func deliveryOf(msg *message.Message) *delivery {
	d, _ := msg.Context().Value(deliveryKey{}).(*delivery)
	return d
}
