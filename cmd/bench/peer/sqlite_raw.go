package peer

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// SQLiteSchema is that of rawSQLite's file. The input is filled before it
// starts.
const SQLiteSchema = `
CREATE TABLE IF NOT EXISTS inbox  (pos INTEGER PRIMARY KEY, id TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS outbox (pos INTEGER PRIMARY KEY, id TEXT NOT NULL, payload BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cursor (one INTEGER PRIMARY KEY CHECK (one = 1), upto INTEGER NOT NULL);
INSERT INTO cursor VALUES (1, 0) ON CONFLICT DO NOTHING;
`

// batch is how many orders one transaction of rawSQLite takes: the best of
// those that were tried.
const batch = 256

// idle is how long rawSQLite waits for more when there is none.
const idle = time.Millisecond

// SQLiteDSN opens a file safe at power loss: WAL, synchronous=FULL. Pages of
// 16 KiB suit messages of 1 KiB.
func SQLiteDSN(path string) string {
	return "file:" + path + "?_pragma=busy_timeout(5000)&_pragma=page_size(16384)&_journal_mode=WAL&_pragma=synchronous(FULL)"
}

// rawSQLite is plain SQLite on one connection: a transaction reads a batch,
// inserts its outputs and moves the cursor.
func rawSQLite(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) (err error) {
	db, err := sql.Open("sqlite", SQLiteDSN(spec.URL))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	db.SetMaxOpenConns(1)
	r := &sqliteReader{prepare: prepare}
	defer r.close()
	if err := r.open(db); err != nil {
		return err
	}
	for ctx.Err() == nil {
		n, err := r.step(db)
		if err != nil {
			return err
		}
		if n > 0 {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(idle):
		}
	}
	return nil
}

type sqliteReader struct {
	prepare              job.PrepareFunc
	seen                 func(payload []byte) // told of each output once it is durable; may be nil
	read, write, advance *sql.Stmt
	upto                 int64
}

func (r *sqliteReader) open(db *sql.DB) (err error) {
	prepare := func(text string) *sql.Stmt {
		stmt, failed := db.Prepare(text)
		if failed != nil {
			err = errors.Join(err, fmt.Errorf("prepare %q: %w", text, failed))
		}
		return stmt
	}
	r.read = prepare("SELECT pos, id, payload FROM inbox WHERE pos > ? ORDER BY pos LIMIT ?")
	r.write = prepare("INSERT INTO outbox (id, payload) VALUES (?, ?)")
	r.advance = prepare("UPDATE cursor SET upto = ?")
	if err != nil {
		return err
	}
	return db.QueryRow("SELECT upto FROM cursor").Scan(&r.upto)
}

func (r *sqliteReader) close() {
	for _, stmt := range []*sql.Stmt{r.read, r.write, r.advance} {
		if stmt != nil {
			_ = stmt.Close()
		}
	}
}

// step does one batch and returns how many there were.
func (r *sqliteReader) step(db *sql.DB) (n int, err error) {
	tx, err := db.Begin()
	if err != nil {
		return 0, err
	}
	defer func() {
		if err != nil {
			_ = tx.Rollback()
		}
	}()
	orders, err := r.take(tx)
	if err != nil || len(orders) == 0 {
		return 0, errors.Join(err, tx.Rollback())
	}
	write := tx.Stmt(r.write)
	for i, o := range orders {
		payload, err := r.prepare(o.payload)
		if err != nil {
			return 0, fmt.Errorf("prepare: %w", err)
		}
		if _, err := write.Exec(o.id, payload); err != nil {
			return 0, err
		}
		orders[i].payload = payload
	}
	last := orders[len(orders)-1].pos
	if _, err := tx.Stmt(r.advance).Exec(last); err != nil {
		return 0, err
	}
	if err := tx.Commit(); err != nil {
		return 0, err
	}
	r.upto = last
	if r.seen != nil {
		for _, o := range orders {
			r.seen(o.payload)
		}
	}
	return len(orders), nil
}

type row struct {
	pos     int64
	id      string
	payload []byte
}

func (r *sqliteReader) take(tx *sql.Tx) ([]row, error) {
	rows, err := tx.Stmt(r.read).Query(r.upto, batch)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	orders := make([]row, 0, batch)
	for rows.Next() {
		var o row
		if err := rows.Scan(&o.pos, &o.id, &o.payload); err != nil {
			return nil, err
		}
		orders = append(orders, o)
	}
	return orders, rows.Err()
}
