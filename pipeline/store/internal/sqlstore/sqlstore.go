package sqlstore

import (
	"context"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Tx runs statements: in a transaction, or outside of one for a single query.
// A driver's errors are marked with store.ErrUnavailable where it applies.
type Tx interface {
	// Exec runs a statement and returns how many rows it changed.
	Exec(statement string, args ...any) (int64, error)
	// Query calls row for each row of the answer.
	Query(query string, row func(scan func(dest ...any) error) error, args ...any) error
}

// Database is what a driver gives.
type Database interface {
	// Update runs fn in a transaction and commits it, unless fn fails. fn may
	// run more than once.
	Update(ctx context.Context, fn func(Tx) error) error
	// View runs fn outside of a transaction, for one query.
	View(ctx context.Context, fn func(Tx) error) error
	// Join returns the form of a transaction that Update's functions have, or
	// nil if it is none that this database knows.
	Join(tx any) Tx
}

// Dialect has the expressions that differ. All arguments and results are SQL.
type Dialect interface {
	// Contains is true where text has part in it.
	Contains(text, part string) string
	// ContainsFold is true where the bytes, of a payload of that form, or where
	// the text has part in it, ASCII letters in any case.
	ContainsFold(form, payload, text, part string) string
	// Header is the text of a header in the encoded headers, or NULL.
	Header(headers, name string) string
	// Pointer is the text of the scalar at path in a payload of that form, or
	// NULL. path is valid. part is "" or a text that the scalar must have in it
	// to matter: where it has not, NULL will do.
	Pointer(form, payload, path, part string) string
	// SkipLocked ends a query that takes rows for itself.
	SkipLocked() string
	// LockKey makes transactions that lock the same text wait for each other.
	LockKey(tx Tx, text string) error
	// Now returns the clock's time.
	Now(tx Tx) (time.Time, error)
}

// Store is a store.Store but for what a driver adds: Home, Ping and Close.
type Store struct {
	db      Database
	dialect Dialect
	now     func() time.Time // nil: the dialect's
}

// New returns the store on db.
func New(db Database, dialect Dialect, opts store.Options) *Store {
	return &Store{db: db, dialect: dialect, now: opts.Now}
}

// Do implements store.Store.
func (s *Store) Do(ctx context.Context, writes ...pipeline.Write) error {
	return s.db.Update(ctx, func(tx Tx) error { return all(tx, writes) })
}

// all makes the writes in a transaction.
func all(tx Tx, writes []pipeline.Write) error {
	for _, write := range writes {
		if write == nil {
			continue
		}
		if err := write(tx); err != nil {
			return err
		}
	}
	return nil
}

// write makes a pipeline.Write of fn.
func (s *Store) write(what string, fn func(Tx) error) pipeline.Write {
	return func(tx any) error {
		own, ok := tx.(Tx)
		if !ok {
			own = s.db.Join(tx)
		}
		if own == nil {
			return fmt.Errorf("%s: %w: the store can't write in a transaction of %T", what, store.ErrInvalid, tx)
		}
		return wrap(what, fn(own))
	}
}

// update runs fn in a transaction of its own.
func (s *Store) update(ctx context.Context, what string, fn func(Tx) error) error {
	return wrap(what, s.db.Update(ctx, fn))
}

// view runs one query.
func (s *Store) view(ctx context.Context, what, query string, row func(scan func(dest ...any) error) error, args ...any) error {
	return wrap(what, s.db.View(ctx, func(tx Tx) error { return tx.Query(query, row, args...) }))
}

// one runs a query for at most one row and reports whether there was one.
func one(tx Tx, query string, dest []any, args ...any) (found bool, err error) {
	err = tx.Query(query, func(scan func(...any) error) error {
		found = true
		return scan(dest...)
	}, args...)
	return found, err
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// clock returns the time by the clock that the store goes by.
func (s *Store) clock(tx Tx) (time.Time, error) {
	if s.now != nil {
		return s.now(), nil
	}
	return s.dialect.Now(tx)
}

// micros is how a time is kept.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

func truth(b bool) int64 {
	if b {
		return 1
	}
	return 0
}

// limit bounds what one statement changes.
func limit(n int) int {
	if n <= 0 {
		return store.MaxPage
	}
	return min(n, store.MaxPage)
}
