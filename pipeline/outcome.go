package pipeline

import (
	"context"
	"runtime/debug"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// Result is how the handling of a message ended.
type Result string

// The results. They are the label `outcome` of the metrics.
const (
	ResultOK      Result = "ok"      // its outputs are durable
	ResultDelayed Result = "delayed" // it waits in the store for another attempt, or behind another of its key
	ResultDead    Result = "dead"    // it is in the handler's dead-letter topic
	ResultStopped Result = "stopped" // Waybill stopped first; its broker keeps it
	ResultVoid    Result = "void"    // another instance has the delayed message by now: what happened here counts for nothing
)

// Outcome is what became of one message in one handler. The chain fills it in
// while the message is handled; what stands outside of settle reads it. It is
// used by one goroutine at a time.
type Outcome struct {
	Began    time.Time // when the handling began
	Result   Result
	Reason   Reason    // why it failed, last; "" if it never did
	Err      error     // the last error
	Attempts int       // how often the kind ran
	First    time.Time // the first failure
	Last     time.Time // the last failure
	Outputs  []string  // ids of what was published, see Sends; not to be kept: it is part of the outcome
	Answer   string    // what the other side said to an effect; the kind's to fill in
	Before   bool      // the effect was done before; its outputs are published again as they were

	// Witness follows the runs. Nil: nobody does. It is set before the first and
	// not changed after that, so that whatever a kind starts may look for it.
	Witness Witness

	settling []func(Result) Write
	finally  []func()
	later    Later
	then     []Step
	of       *message.Message // whose outcome it is, as Then knows
	room     [4]Step          // for then
	output   [1]string        // for Outputs
}

// Sends adds the id of an output.
func (o *Outcome) Sends(id string) {
	if o.Outputs == nil {
		o.Outputs = o.output[:0]
	}
	o.Outputs = append(o.Outputs, id)
}

// Later is what the outcome of a message is known after.
type Later interface {
	// Begin begins it, and returns. done is called once with o and how it went:
	// where it went well by any goroutine, which done must not hold up.
	Begin(o *Outcome, done func(o *Outcome, how error))
}

// Step is what somebody in the chain does with how it has ended inside: it
// returns how it ends for who stands outside. It is made once for all messages.
type Step func(msg *message.Message, o *Outcome, how error) error

// Defer says that the outcome is known later: what the chain does with it waits
// for that (Then), and no goroutine does. Whoever runs the chain begins l behind
// it, and then calls Conclude.
func (o *Outcome) Defer(l Later) { o.later = l }

// Deferred returns what was given to Defer, or nil.
func (o *Outcome) Deferred() Later { return o.later }

// Then calls f with how the chain inside has ended for msg, whose outcome this is,
// and returns what f does; nil where that is known later, when f is called by
// Conclude. What fails after Defer defers nothing. A panic of f is an error, so
// that who stands outside can end.
func (o *Outcome) Then(msg *message.Message, err error, f Step) error {
	o.of = msg
	if o.later != nil && err == nil {
		if o.then == nil {
			o.then = o.room[:0]
		}
		o.then = append(o.then, f)
		return nil
	}
	o.later = nil
	return o.guarded(f, o.Conclude(err))
}

// Message returns the message that Then was last called with.
func (o *Outcome) Message() *message.Message { return o.of }

// Conclude does what Then put off, the first, which is the innermost, first. Each
// has the error of the one before.
func (o *Outcome) Conclude(err error) error {
	then := o.then
	o.then = nil
	for _, f := range then {
		err = o.guarded(f, err)
	}
	return err
}

func (o *Outcome) guarded(f Step, how error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	return f(o.of, o, how)
}

// Plain reports whether success means no more than that the outputs are sent:
// nothing has failed, the store has no part in it, and nothing is to be let go.
func (o *Outcome) Plain() bool {
	return !o.Before && o.First.IsZero() && len(o.settling) == 0 && len(o.finally) == 0
}

// Finally adds what to do when nothing is left to do of the message, whatever
// Result it has, or when it is handled anew: it has none then.
func (o *Outcome) Finally(f func()) { o.finally = append(o.finally, f) }

// End does what Finally added, the last first. Who made the Outcome calls it
// once, when nothing of the message is left to do.
func (o *Outcome) End() {
	for _, f := range slices.Backward(o.finally) {
		f()
	}
}

// Reset makes o what it was before, for a message that is handled anew, and
// does what Finally added since. Witness stays: what the kind left behind may
// look for it meanwhile.
func (o *Outcome) Reset(before Outcome) {
	for _, f := range slices.Backward(o.finally[len(before.finally):]) {
		f()
	}
	o.Began, o.Result, o.Reason, o.Err = before.Began, before.Result, before.Reason, before.Err
	o.Attempts, o.First, o.Last = before.Attempts, before.First, before.Last
	o.Outputs, o.Answer, o.Before = before.Outputs, before.Answer, before.Before
	o.settling, o.finally = before.settling, before.finally
	o.later, o.then = before.later, before.then
}

// Witness follows the runs of the kind for one message, for the message log.
type Witness interface {
	Began(slot int)  // a run begins, in this of the handler's slots, which count from 0
	Ended(err error) // it has ended; nil: well
}

// Settling adds a change of the store that belongs to the outcome: the store
// makes it together with the outcome, or neither happens. f returns the change
// for a result, or nil. It may be asked more than once and before the result is
// certain, as outputs that are refused turn success into death, and a stop
// leaves none: it must only prepare. It is never asked for ResultStopped or
// ResultVoid.
func (o *Outcome) Settling(f func(Result) Write) { o.settling = append(o.settling, f) }

// Save adds a change of the store that belongs to success alone, and is
// dropped with any other result: see State.
func (o *Outcome) Save(w Write) {
	o.Settling(func(r Result) Write {
		if r != ResultOK {
			return nil
		}
		return w
	})
}

// Writes lists the changes of the store that belong to this result, if that is
// what it comes to: see Settling.
func (o *Outcome) Writes(r Result) []Write {
	var writes []Write
	for _, f := range o.settling {
		if w := f(r); w != nil {
			writes = append(writes, w)
		}
	}
	return writes
}

// Failed notes a failed run of the kind.
func (o *Outcome) Failed(err error, now time.Time) {
	if o.First.IsZero() {
		o.First = now
	}
	o.Last, o.Err, o.Reason = now, err, ReasonOf(err)
}

// NewOutcome returns ctx carrying a new outcome, in one object with room for what
// every message has besides: see WithIdentity and RunScope.
func NewOutcome(ctx context.Context) (context.Context, *Outcome) {
	c := &outcomeContext{Context: ctx}
	return c, &c.outcome
}

type outcomeContext struct {
	context.Context
	outcome Outcome
	id      Identity
	run     Scope
	begun   bool // run is in use
}

// Value implements context.Context.
func (c *outcomeContext) Value(key any) any {
	switch {
	case key == outcomeKey:
		return &c.outcome
	case key == identityKey && c.id != Identity{}:
		return &c.id
	case key == roomKey:
		return c
	}
	return c.Context.Value(key)
}

// WithOutcome returns ctx carrying o.
func WithOutcome(ctx context.Context, o *Outcome) context.Context {
	return context.WithValue(ctx, outcomeKey, o)
}

// OutcomeOf returns the outcome that ctx carries, or a new one that nobody
// reads.
func OutcomeOf(ctx context.Context) *Outcome {
	if o, _ := ctx.Value(outcomeKey).(*Outcome); o != nil {
		return o
	}
	return &Outcome{}
}

// RunScope is NewScope for a run of the kind, one at a time. The first of a
// message is part of what NewOutcome made.
func RunScope(ctx context.Context, timeout time.Duration) *Scope {
	c, _ := ctx.Value(roomKey).(*outcomeContext)
	if c == nil || c.begun {
		return NewScope(ctx, timeout)
	}
	c.begun = true
	c.run.Begin(ctx, timeout, nil)
	return &c.run
}

// Identity names a message in logs and links it to what it came from.
type Identity struct {
	Message     string // its id
	Correlation string // the id of the conversation: its own where it began one
}

// WithIdentity returns ctx carrying id. A ctx of NewOutcome, which carries none,
// is given it.
func WithIdentity(ctx context.Context, id Identity) context.Context {
	if c, ok := ctx.(*outcomeContext); ok && c.id == (Identity{}) {
		c.id = id
		return c
	}
	return context.WithValue(ctx, identityKey, &id)
}

// IdentityOf returns the identity that ctx carries.
func IdentityOf(ctx context.Context) (Identity, bool) {
	if id, ok := ctx.Value(identityKey).(*Identity); ok {
		return *id, true
	}
	return Identity{}, false
}
