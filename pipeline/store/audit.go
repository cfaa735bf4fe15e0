package store

import (
	"context"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// AuditEntry says who changed what, when and why.
type AuditEntry struct {
	ID int64     // the store's name for it; rises with each new one
	At time.Time // by the store's clock; Record sets it

	// Operation names what the entry tells of, where that happens in several
	// transactions: later entries of one operation add their Count to the first.
	// "": it is one transaction, and the entry stands alone.
	Operation string

	Actor  string  // who
	Action string  // what: archive, edit, replay, …
	Why    string  // in the actor's words; may be ""
	On     []int64 // the dead letters, where the actor named them
	Filter *Filter // or the filter; nil: neither
	Count  int     // of what was changed
	Detail string  // what else there is to say; never a payload
}

// AuditQuery asks for a page of entries.
type AuditQuery struct {
	Actor, Action string    // "": all
	Since         time.Time // zero: from the first
	Limit         int       // default DefaultPage, at most MaxPage
	Cursor        string    // of the page before; "": the first page
}

// AuditPage is an answer to it.
type AuditPage struct {
	Entries []AuditEntry
	Next    string // the cursor of the next page; "": this is the last
}

// Audit remembers what people did. Nothing deletes it.
type Audit interface {
	// Record adds an entry, in the transaction of the change that it tells of:
	// there is neither without the other. ErrInvalid: Actor or Action is missing.
	Record(e AuditEntry) pipeline.Write

	// AuditEntries returns a page of those that match, newest first.
	AuditEntries(ctx context.Context, q AuditQuery) (AuditPage, error)
}
