package peer

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// feedKeys is how many keys a load has that the client makes itself.
const feedKeys = 10_000

// fedSQLite is rawSQLite and its producer on one connection: what is due goes
// to the input in one transaction, and through the job in the next.
func fedSQLite(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) (err error) {
	db, err := sql.Open("sqlite", SQLiteDSN(spec.URL))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	watch := job.NewStopwatch()
	r := &sqliteReader{prepare: prepare, seen: watch.See}
	defer r.close()
	if err := r.open(db); err != nil {
		return err
	}

	orders := job.Orders{Keys: feedKeys}
	due := make(chan row, job.Paced+1)
	due <- row{id: job.ID(0), payload: orders.Order(0, time.Now())}
	feeding := make(chan error, 1)
	ctx, enough := context.WithCancel(ctx)
	go func() {
		feeding <- job.Pace(ctx, func(seq int, at time.Time) error {
			due <- row{id: job.ID(seq), payload: orders.Order(seq, at)}
			return nil
		})
	}()
	err = r.serve(ctx, db, due, watch.Finished())
	enough()
	if fed := <-feeding; err != nil || fed != nil {
		return errors.Join(err, fed)
	}
	return json.NewEncoder(os.Stdout).Encode(watch.Latencies())
}

// serve takes what is due, as much as waits at a time, until all is finished.
func (r *sqliteReader) serve(ctx context.Context, db *sql.DB, due <-chan row, finished <-chan struct{}) error {
	for {
		select {
		case <-finished:
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case first := <-due:
			if err := insertDue(db, first, due); err != nil {
				return err
			}
			if _, err := r.step(db); err != nil {
				return err
			}
		}
	}
}

func insertDue(db *sql.DB, first row, more <-chan row) error {
	tx, err := db.Begin()
	if err != nil {
		return err
	}
	rows := []row{first}
	for len(rows) < batch && len(more) > 0 {
		rows = append(rows, <-more)
	}
	for _, o := range rows {
		if _, err := tx.Exec("INSERT INTO inbox (id, payload) VALUES (?, ?)", o.id, o.payload); err != nil {
			return errors.Join(fmt.Errorf("send: %w", err), tx.Rollback())
		}
	}
	return tx.Commit()
}
