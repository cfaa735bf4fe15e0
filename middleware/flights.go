package middleware

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// flightsLook is how often it is looked whether the time of a flight is up.
const flightsLook = 50 * time.Millisecond

// Start begins to publish out, the outputs of in, and returns. to is told, once,
// what became of each, by its index. False: nothing was begun, and Send is to do
// it.
type Start func(ctx context.Context, in *message.Message, out []Output, to pipeline.Confirmer) bool

// Flights are the messages whose outputs are on their way. No goroutine waits
// for them: one looks after all, ends those whose confirms have come, in the
// order in which they came, and those whose context has ended. So a thousand
// messages in flight need neither a thousand stacks nor to be woken one by one.
type Flights struct {
	start Start

	mu     sync.Mutex
	first  *flight // of those that are on their way, in no order
	landed []*flight
	over   bool
	woken  chan struct{}   // holds a token while some have landed
	life   context.Context //nolint:containedctx // of its goroutine
	quit   context.CancelFunc
	task   sync.WaitGroup
}

// NewFlights returns Flights that are looked after until Stop.
func NewFlights(start Start) *Flights {
	fs := &Flights{start: start, woken: make(chan struct{}, 1)}
	fs.life, fs.quit = context.WithCancel(context.Background())
	fs.task.Go(fs.run)
	return fs
}

// Stop ends the looking after, when the contexts of all messages have
// ended: what is still on its way ends as they have. Later ones do not begin.
func (fs *Flights) Stop() {
	fs.mu.Lock()
	fs.over = true
	for fs.first != nil {
		fs.first.late = pipeline.ErrStopping
		fs.land(fs.first)
	}
	fs.mu.Unlock()
	fs.quit()
	fs.task.Wait()
}

func (fs *Flights) run() {
	look := time.NewTicker(flightsLook)
	defer look.Stop()
	for over := false; !over; {
		select {
		case <-fs.woken:
		case <-look.C:
			fs.expire()
		case <-fs.life.Done():
			over = true
		}
		for _, f := range fs.take() {
			f.end()
		}
	}
}

func (fs *Flights) take() []*flight {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	landed := fs.landed
	fs.landed = nil
	return landed
}

// expire ends those whose context has ended.
func (fs *Flights) expire() {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	for f := fs.first; f != nil; {
		next := f.next
		if f.ctx.Err() != nil {
			f.late = pipeline.WithReason(fmt.Errorf(
				"not confirmed in time, it may be published all the same: %w", context.Cause(&f.ctx)), pipeline.ReasonTimeout)
			fs.land(f)
		}
		f = next
	}
}

// add takes one that is about to begin. False: none begins any more.
func (fs *Flights) add(f *flight) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if fs.over {
		return false
	}
	f.flying = true
	if f.next = fs.first; f.next != nil {
		f.next.prev = f
	}
	fs.first = f
	return true
}

// drop forgets one that has not begun. False: it has ended meanwhile.
func (fs *Flights) drop(f *flight) bool {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !f.flying {
		return false
	}
	fs.unlink(f)
	return true
}

// land has a flight ended.
func (fs *Flights) land(f *flight) {
	fs.unlink(f)
	fs.landed = append(fs.landed, f)
	select {
	case fs.woken <- struct{}{}:
	default:
	}
}

func (fs *Flights) unlink(f *flight) {
	f.flying = false
	if f.next != nil {
		f.next.prev = f.prev
	}
	if f.prev != nil {
		f.prev.next = f.next
	} else {
		fs.first = f.next
	}
	f.next, f.prev = nil, nil
}

// flight is the first try to publish the outputs of a message.
type flight struct {
	publish *Publish
	msg     *message.Message
	out     []Output
	room    [1]Output      // for out
	ctx     pipeline.Scope // of this try
	outcome *pipeline.Outcome
	done    func(*pipeline.Outcome, error)

	// Under the mutex of the flights.
	flying     bool
	heard      int     // of so many outputs
	of         []bool  // of which; nil while it is none, or all there are is one
	errs       []error // by output; nil: none failed
	late       error   // why it ended before all was heard of
	prev, next *flight
}

var _ pipeline.Later = (*flight)(nil)

// Begin implements pipeline.Later. What cannot begin is published here and now.
func (f *flight) Begin(o *pipeline.Outcome, done func(*pipeline.Outcome, error)) {
	f.outcome, f.done = o, done
	if !f.begin() {
		done(o, f.publish.hold(f.msg, f.out, nil, nil))
	}
}

// begin reports whether the flight has begun, or has even ended.
func (f *flight) begin() bool {
	fs := f.publish.Flights
	outer := f.msg.Context()
	f.ctx.Begin(outer, f.publish.Holder.Timeout, nil)
	if outer.Err() != nil || !fs.add(f) {
		f.ctx.End()
		return false
	}
	if f.start() || !fs.drop(f) {
		return true
	}
	f.ctx.End()
	return false
}

// start begins to publish. Where that panics, so will hold, which makes an error
// of it.
func (f *flight) start() (begun bool) {
	defer func() { _ = recover() }()
	return f.publish.Flights.start(&f.ctx, f.msg, f.out, f)
}

// Confirmed implements pipeline.Confirmer.
func (f *flight) Confirmed(i int, err error) {
	fs := f.publish.Flights
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !f.flying {
		return
	}
	if len(f.out) > 1 {
		if f.of == nil {
			f.of = make([]bool, len(f.out))
		}
		if f.of[i] {
			return
		}
		f.of[i] = true
	}
	if err != nil {
		if f.errs == nil {
			f.errs = make([]error, len(f.out))
		}
		f.errs[i] = err
	}
	if f.heard++; f.heard == len(f.out) {
		fs.land(f)
	}
}

// end has the message go on, which must not hold up the others: what was not
// confirmed is published on a goroutine of its own, for which the message's
// bundle waits. It is tried at once, unless the time was up: a channel that was
// lost, or a batch that was refused for another's sake, is nothing to be held for.
func (f *flight) end() {
	f.ctx.End()
	if f.errs == nil && f.late == nil {
		f.done(f.outcome, nil)
		return
	}
	go func() { f.done(f.outcome, f.publish.hold(f.msg, f.left(), nil, f.late)) }()
}

// left are the outputs that were not confirmed.
func (f *flight) left() []Output {
	if len(f.out) == 1 {
		return f.out
	}
	var left []Output
	for i, o := range f.out {
		if f.of == nil || !f.of[i] || f.errs != nil && f.errs[i] != nil {
			left = append(left, o)
		}
	}
	return left
}
