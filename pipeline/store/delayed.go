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
	// Copy is "" for a message whose id is its own. For one whose id equal
	// messages share it tells copies apart, as far as the caller can.
	Copy     string
	Topic    string // where it was read
	Key      string // what orders it; "": nothing does
	Due      time.Time
	Attempts int             // runs of the handler so far, over all instances
	First    time.Time       // the first failure; zero: it only waits behind another
	Reason   pipeline.Reason // of the last failure
	Error    string
	Overtake bool // it neither waits for others of its key nor makes them wait
	Replay   bool // it is a dead letter on its way back
	Content
}

// Lease is a delayed message in one instance's hands.
type Lease struct {
	DelayedMessage
	Token  string    // proves the lease
	Until  time.Time // by the store's clock
	Leases int       // how often it was leased since it was delayed, this time included: over 1 after a crash
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

	// DelayAgain gives a leased message back, with l's Due, Attempts, First,
	// Reason, Error and Replay. It keeps its place in its key. ErrStaleToken as
	// EndDelayed.
	DelayAgain(l Lease) pipeline.Write

	// HeldKeys lists the keys that a handler's delayed messages hold: later
	// messages with them queue up behind, with Delay. Whoever takes over a lane
	// asks once.
	HeldKeys(ctx context.Context, handler string) ([]string, error)

	// NextDue returns when LeaseDue will next have something for the handler,
	// leases of others included; ok is false if nothing is there.
	NextDue(ctx context.Context, handler string) (at time.Time, ok bool, err error)

	// DelayedMessages lists what waits in a handler, by id, from behind the id
	// given, up to limit.
	DelayedMessages(ctx context.Context, handler string, after int64, limit int) ([]DelayedMessage, error)
}
