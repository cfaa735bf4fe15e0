package sqlitestore

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/internal/sqlstore"
)

// database is a sqlstore.Database on a file.
type database struct{ file *sqlitefile.File }

// Update implements sqlstore.Database: in a transaction that it may share.
func (d database) Update(ctx context.Context, fn func(sqlstore.Tx) error) error {
	return unavailable(d.file.Write(ctx, func(tx *sqlitefile.Tx) error { return fn(writing{tx}) }))
}

// View implements sqlstore.Database.
func (d database) View(ctx context.Context, fn func(sqlstore.Tx) error) error {
	return unavailable(d.file.Mark(fn(reading{ctx, d.file.Reader()})))
}

// Join implements sqlstore.Database. It trusts that the transaction is this
// file's: who compares Home makes sure.
func (d database) Join(tx any) sqlstore.Tx {
	if own, ok := tx.(*sqlitefile.Tx); ok {
		return writing{own}
	}
	return nil
}

// unavailable marks errors of the file with store.ErrUnavailable.
func unavailable(err error) error {
	if err == nil || errors.Is(err, store.ErrUnavailable) || pipeline.ReasonOf(err) != pipeline.ReasonUnavailable {
		return err
	}
	return fmt.Errorf("%w: %w", store.ErrUnavailable, err)
}

// writing is the writer's transaction.
type writing struct{ tx *sqlitefile.Tx }

func (w writing) Exec(statement string, args ...any) (int64, error) {
	result, err := w.tx.Exec(statement, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (w writing) Query(query string, row func(scan func(...any) error) error, args ...any) error {
	rows, err := w.tx.Query(query, args...)
	return each(rows, err, row)
}

// reading is a reader.
type reading struct {
	ctx context.Context
	db  *sql.DB
}

func (reading) Exec(string, ...any) (int64, error) { return 0, errors.New("readers don't write") }

func (r reading) Query(query string, row func(scan func(...any) error) error, args ...any) error {
	rows, err := r.db.QueryContext(r.ctx, query, args...)
	return each(rows, err, row)
}

func each(rows *sql.Rows, err error, row func(scan func(...any) error) error) error {
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
