package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/internal/sqlstore"
)

const (
	maxTries = 5 // of a transaction that deadlocked

	classConstraint = "23" // of error codes: a constraint was violated
	classRetry      = "40" // transaction rollback: deadlock, serialization
)

func class(err *pgconn.PgError) string { return err.Code[:min(2, len(err.Code))] }

// database is a sqlstore.Database on a pool.
type database struct {
	pool  *pgxpool.Pool
	marks *marks
}

// Update implements sqlstore.Database.
func (d *database) Update(ctx context.Context, fn func(sqlstore.Tx) error) error {
	var err error
	for range maxTries {
		err = d.once(ctx, fn)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || class(pg) != classRetry {
			break
		}
	}
	return mark(err)
}

// once runs fn in a transaction.
func (d *database) once(ctx context.Context, fn func(sqlstore.Tx) error) error {
	tx, err := d.pool.Begin(ctx)
	if err != nil {
		return err
	}
	token, ended, err := d.marks.begin(ctx, tx)
	if err == nil {
		err = fn(&transaction{ctx: ctx, tx: tx})
	}
	if err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx)) // what is left of it, the server ends with the connection
		d.marks.done(ended...)
		return err
	}
	// From here on the outcome counts, not the caller's patience: the server
	// answers or the connection ends.
	commit, cancel := insist(ctx)
	defer cancel()
	switch err = tx.Commit(commit); {
	case err == nil:
		d.marks.done(token)
	case answered(err):
		d.marks.done(ended...)
	default:
		err = d.marks.fate(ctx, d.pool, token, err)
		d.marks.done(append(ended, token)...) // there or not: to remove it twice does no harm
	}
	return err
}

// View implements sqlstore.Database.
func (d *database) View(ctx context.Context, fn func(sqlstore.Tx) error) error {
	return mark(fn(reading{ctx, d.pool}))
}

// Join implements sqlstore.Database.
func (d *database) Join(any) sqlstore.Tx { return nil }

// mark gives errors of the server and of the way to it store.ErrUnavailable, and
// those of what it can take at no time store.ErrInvalid.
func mark(err error) error {
	var pg *pgconn.PgError
	var network net.Error
	var connect *pgconn.ConnectError
	switch {
	case err == nil, errors.Is(err, store.ErrUnavailable):
		return err
	case errors.As(err, &pg):
		switch class(pg) {
		case "22", "54": // the data, a limit
			return fmt.Errorf("%w: %w", store.ErrInvalid, err)
		case "08", "53", "57", "58", "25", classRetry: // connection, resources, shutdown, disk, read-only, gave up
		default:
			return err
		}
	case errors.As(err, &connect), errors.As(err, &network), pgconn.SafeToRetry(err), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
	default:
		return err
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// transaction is a sqlstore.Tx.
type transaction struct {
	ctx context.Context
	tx  pgx.Tx
	now time.Time // zero: nobody has asked yet
}

func (t *transaction) Exec(statement string, args ...any) (int64, error) {
	tag, err := t.tx.Exec(t.ctx, statement, args...)
	return tag.RowsAffected(), err
}

func (t *transaction) Query(query string, row func(scan func(...any) error) error, args ...any) error {
	rows, err := t.tx.Query(t.ctx, query, args...)
	return each(rows, err, row)
}

// reading is a query alone.
type reading struct {
	ctx  context.Context
	pool *pgxpool.Pool
}

func (reading) Exec(string, ...any) (int64, error) { return 0, errors.New("readers don't write") }

func (r reading) Query(query string, row func(scan func(...any) error) error, args ...any) error {
	rows, err := r.pool.Query(r.ctx, query, args...)
	return each(rows, err, row)
}

func each(rows pgx.Rows, err error, row func(scan func(...any) error) error) error {
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		if err := row(rows.Scan); err != nil {
			return err
		}
	}
	return rows.Err()
}
