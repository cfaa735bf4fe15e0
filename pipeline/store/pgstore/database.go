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
	maxTries   = 5 // of a transaction that deadlocked
	askAgain   = 200 * time.Millisecond
	askAtMost  = 30 * time.Second // for the end of a COMMIT whose answer was lost
	classRetry = "40"             // transaction rollback: deadlock, serialization
)

// database is a sqlstore.Database on a pool.
type database struct{ pool *pgxpool.Pool }

// Update implements sqlstore.Database.
func (d *database) Update(ctx context.Context, fn func(sqlstore.Tx) error) error {
	var err error
	for range maxTries {
		err = d.once(ctx, fn)
		var pg *pgconn.PgError
		if !errors.As(err, &pg) || pg.Code[:2] != classRetry {
			break
		}
	}
	return mark(err)
}

// once runs fn in a transaction.
//
// A connection that is lost during COMMIT leaves open whether it happened, and
// a caller that is told "failed" would refuse what it did itself (a token of
// its own is stale then). So each transaction knows its number, and the server
// is asked what became of it.
func (d *database) once(ctx context.Context, fn func(sqlstore.Tx) error) error {
	tx, err := d.pool.Begin(ctx)
	if err != nil {
		return err
	}
	var number string
	err = tx.QueryRow(ctx, "SELECT pg_current_xact_id()::text").Scan(&number)
	if err == nil {
		err = fn(&transaction{ctx: ctx, tx: tx})
	}
	if err != nil {
		_ = tx.Rollback(context.WithoutCancel(ctx)) // what is left of it, the server ends with the connection
		return err
	}
	// From here on the outcome counts, not the caller's patience: the server
	// answers or the connection ends.
	commit, cancel := context.WithTimeout(context.WithoutCancel(ctx), askAtMost)
	defer cancel()
	err = tx.Commit(commit)
	var refused *pgconn.PgError
	if err == nil || errors.As(err, &refused) && refused.Code[:2] != "57" || errors.Is(err, pgx.ErrTxCommitRollback) {
		return err // the server has said what happened; 57 is its shutdown, in the middle
	}
	return d.fate(ctx, number, err)
}

// fate finds out how a transaction ended whose COMMIT had no answer.
func (d *database) fate(ctx context.Context, number string, lost error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askAtMost)
	defer cancel()
	for {
		var status string
		switch err := d.pool.QueryRow(ctx, "SELECT pg_xact_status($1::text::xid8)", number).Scan(&status); {
		case err == nil && status == "committed":
			return nil
		case err == nil && status == "aborted":
			return fmt.Errorf("commit: %w", lost)
		}
		select {
		case <-time.After(askAgain): // it is in progress, or the server is away
		case <-ctx.Done():
			return fmt.Errorf("commit: its outcome is not known: %w", lost)
		}
	}
}

// View implements sqlstore.Database.
func (d *database) View(ctx context.Context, fn func(sqlstore.Tx) error) error {
	return mark(fn(reading{ctx, d.pool}))
}

// Join implements sqlstore.Database.
func (d *database) Join(any) sqlstore.Tx { return nil }

// mark gives errors of the server and of the way to it store.ErrUnavailable.
func mark(err error) error {
	var pg *pgconn.PgError
	var network net.Error
	var connect *pgconn.ConnectError
	switch {
	case err == nil, errors.Is(err, store.ErrUnavailable):
		return err
	case errors.As(err, &pg):
		switch pg.Code[:2] {
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
