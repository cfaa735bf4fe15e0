package store

import (
	"context"
	"log/slog"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// Store is one store. Its methods may be called by many goroutines at once,
// honour their contexts, and return errors of the closed set of errors.go.
//
// An error means that nothing was written, also when a context ended. The one
// exception is a PostgreSQL server that stays away after the connection broke
// in the middle of a COMMIT: the error says so, after waiting for it for longer
// than the context says. Changes can be repeated.
type Store interface {
	DeadLetters
	Receipts
	Delayed
	Suspects
	Documents
	Log
	Audit
	Selections
	Replays

	// Do makes the writes in one transaction of the store's own, all or none.
	// A nil Write is left out.
	Do(ctx context.Context, writes ...pipeline.Write) error

	// Home names the file whose transactions a Write of this store can join:
	// a *sqlitefile.Tx of that file. "": it joins nobody's.
	Home() string

	// Ping returns why the store cannot be used now, or nil.
	Ping(ctx context.Context) error

	// Close lets go of the store. No call may be under way.
	Close() error
}

// Options of every driver's Open.
type Options struct {
	// Now is the clock. Nil: the store's own, see the package comment. Tests
	// set it.
	Now func() time.Time
	// Log is told what the store has mended by itself. Nil: nobody is.
	Log *slog.Logger
}

// Content is what a message says: its headers and its bytes.
type Content struct {
	Headers map[string]string
	Payload []byte
}

// Page limits.
const (
	DefaultPage = 100
	MaxPage     = 1000
)

// PageSize returns the size that a query's Limit asks for, within bounds.
func PageSize(limit int) int {
	if limit <= 0 {
		return DefaultPage
	}
	return min(limit, MaxPage)
}
