package store

import (
	"context"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// ReceiptState says how far an effect got.
type ReceiptState string

// The states of a receipt. Free is the lack of one; Busy is what Reserve calls
// a reservation that it leaves alone.
const (
	Free     ReceiptState = "free"
	Reserved ReceiptState = "reserved" // begun: it may have happened
	Busy     ReceiptState = "busy"     // begun by somebody who may still be at it
	Done     ReceiptState = "done"
)

// ReceiptKey names an effect of which there may be one.
type ReceiptKey struct {
	Subject string // the id of the message or of the order
	Effect  string // the handler, or what it calls its effect
}

// Receipt says what was done.
type Receipt struct {
	ReceiptKey
	State   ReceiptState
	Hash    string    // of the content that it was done for, as the caller hashes
	Owner   string    // the instance that reserved it last
	Outcome string    // what the other side said, as the caller writes it; of Done
	Outputs []Output  // what came of it, to be published again; of Done
	Since   time.Time // of this state; a reservation's is renewed
}

// Output is a produced message as a receipt keeps it.
type Output struct {
	Name string // of the handler's output
	ID   string
	Content
}

// Reservation asks to begin an effect.
type Reservation struct {
	ReceiptKey
	Hash   string
	Owner  string        // at most one message of an owner asks for a key at a time
	Lease  time.Duration // how long another owner's reservation is left alone since it was made or renewed
	Edited bool          // the message carries `editof`: its hash may be another
}

// Receipts remembers effects.
//
// A receipt is reserved before the effect and done with the outcome, so that a
// crash between the two is seen. It says nothing of a message that failed: who
// fails frees it, so that a replay runs.
type Receipts interface {
	// Reserve begins an effect and returns the receipt as it was before: Free,
	// and it is the caller's now; Reserved, the owner himself or one whose lease
	// has ended began and did not end: it may have happened, and it is the
	// caller's now; Busy: another owner is at it, the caller asks again later;
	// Done: it has happened.
	// ErrConflict: the key belongs to other content (pipeline.ReasonConflict,
	// permanent), unless the message is an edited copy, whose hash replaces the
	// stored one while what is done stays done.
	Reserve(ctx context.Context, r Reservation) (Receipt, error)

	// FinishReceipt makes the receipt Done with its Hash, Owner, Outcome and
	// Outputs, whatever it was.
	FinishReceipt(r Receipt) pipeline.Write

	// RenewReceipts begins the leases of the owner's reservations anew. What is
	// not reserved, or another's now, stays as it is.
	RenewReceipts(ctx context.Context, owner string, keys ...ReceiptKey) error

	// FreeReceipt takes back the owner's reservation of an effect that certainly
	// did not happen, or whose message is a dead letter. What is Done, or
	// another's, stays.
	FreeReceipt(key ReceiptKey, owner string) pipeline.Write

	// Receipt returns the receipt, which is Free where there is none.
	Receipt(ctx context.Context, key ReceiptKey) (Receipt, error)

	// ExpireReceipts deletes up to limit receipts that are in their state since
	// before that time, and returns how many.
	ExpireReceipts(ctx context.Context, before time.Time, limit int) (int, error)
}
