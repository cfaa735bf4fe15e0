package store

import (
	"context"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// DelayedMessage is a message that waits in the store for its handler.
type DelayedMessage struct {
	ID      int64 // the store's name for it; the order of its key
	Handler string
	Message string // the message's id
	// Copy tells messages apart that have the same id: another payload under an
	// id is another message. Where equal messages share ids it tells these apart,
	// too, as far as the caller can; and a replay from any other.
	Copy      string
	Topic     string // where it was read
	Partition int32  // and its place there; 0 where the broker has none
	Offset    int64  // -1 where the broker has none
	Key       string // what orders it: its lane; "": nothing does
	Due       time.Time
	Attempts  int             // runs of the handler so far, over all instances
	Rounds    int             // delayed retries so far, this one included; 0: it only waits behind another, or is a replay
	First     time.Time       // the first failure; zero: none yet
	Reason    pipeline.Reason // of the last failure
	Error     string
	Overtake  bool  // it neither waits for others of its key nor makes them wait
	Parked    bool  // it is never due: a dead letter's, which holds its key until Requeue or Unpark
	Replay    bool  // it is a dead letter on its way back
	Replays   int   // how often it was replayed
	Letter    int64 // the dead letter whose replay it is; 0: none
	Content
}

// DelayedCount says how many messages wait in a handler.
type DelayedCount struct {
	Waiting int64 // for their time, or behind another of their key
	Parked  int64 // of dead letters
}

// Lease is a delayed message in one instance's hands.
type Lease struct {
	DelayedMessage
	Token  string    // proves the lease
	Until  time.Time // by the store's clock
	Leases int       // how often it was leased since it was delayed, this time included: over 1 after a crash
}

type leaseKey struct{}

// WithLease returns ctx carrying l: the message with it is in hand under that
// lease.
func WithLease(ctx context.Context, l *Lease) context.Context {
	return context.WithValue(ctx, leaseKey{}, l)
}

// LeaseOf returns the lease of the message with this context, or nil for one
// that came from its broker.
func LeaseOf(ctx context.Context) *Lease {
	l, _ := ctx.Value(leaseKey{}).(*Lease)
	return l
}

// Delayed keeps messages until their time comes and gives each to one
// instance at a time.
//
// Of a key only the first is given out, unless it may overtake; those behind
// it wait in the order in which they were put, each at least until its own
// time.
type Delayed interface {
	// Delay puts a message. One of the same handler, message and copy that is
	// there already, or is under lease, stays as it is: a repeat of its input
	// changes nothing.
	Delay(m DelayedMessage) pipeline.Write

	// LeaseDue gives up to n messages of a handler whose time has come to the
	// caller, in the order of their times, until ttl has passed. Nobody else
	// gets them meanwhile; then anybody does.
	LeaseDue(ctx context.Context, handler string, n int, ttl time.Duration) ([]Lease, error)

	// ExtendLease makes the lease last until ttl from now. ErrStaleToken: it is
	// somebody else's.
	ExtendLease(ctx context.Context, l Lease, ttl time.Duration) error

	// EndDelayed removes a leased message: its outcome is recorded in the same
	// transaction. The next of its key may run then. ErrStaleToken: the lease
	// has been given to another or the message has ended; the outcome is void.
	EndDelayed(l Lease) pipeline.Write

	// DelayAgain gives a leased message back, with l's Due, Attempts, Rounds,
	// First, Reason, Error, Parked, Replay and Replays. It keeps its place in
	// its key. ErrStaleToken as EndDelayed.
	DelayAgain(l Lease) pipeline.Write

	// Requeue sends a dead letter's message back to its handler, due at m.Due
	// (zero: at once), as a Replay. Where one of this handler and message is
	// parked that one goes, with m's content, letter and what m says of attempts
	// and replays, and keeps its key and its place in it. Of several, of different
	// keys, that is the last: a letter tells of the last death, and the others need
	// no place any more. Else it is put as by Delay. ErrConflict: one of this
	// handler, message and copy is there that is not parked; its content, and its
	// end, are its own.
	Requeue(m DelayedMessage) pipeline.Write

	// Unpark removes what is parked of a message, whose dead letter needs no
	// place any more, and lets the next of its key go. Where nothing is parked
	// it does nothing.
	Unpark(handler, message string) pipeline.Write

	// Withdraw removes the message of a dead letter's replay that is given up, and
	// lets the next of its key go. Of l it reads ID, Handler and Message.
	// ErrConflict: somebody has it under lease. Where none waits it does nothing.
	Withdraw(l DeadLetter) pipeline.Write

	// HeldKeys lists the keys that a handler's delayed messages hold: later
	// messages with them queue up behind, with Delay. Whoever takes over a lane
	// asks once.
	HeldKeys(ctx context.Context, handler string) ([]string, error)

	// Holds reports whether a delayed message of the handler holds the key: it
	// is asked of a key that HeldKeys had, or that was delayed since, before
	// the next message of the key runs.
	Holds(ctx context.Context, handler, key string) (bool, error)

	// CountDelayed counts what waits, by handler. It looks at each.
	CountDelayed(ctx context.Context) (map[string]DelayedCount, error)

	// NextDue returns when LeaseDue will next have something for the handler,
	// leases of others included; ok is false if nothing is there.
	NextDue(ctx context.Context, handler string) (at time.Time, ok bool, err error)

	// DelayedMessages lists what waits in a handler, by id, from behind the id
	// given, up to limit.
	DelayedMessages(ctx context.Context, handler string, after int64, limit int) ([]DelayedMessage, error)
}
