package place

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	_ "modernc.org/sqlite" // the driver "sqlite"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/peer"
)

// embedded is no broker at all: each site is a file of its own.
type embedded struct{}

func (embedded) PID() int     { return 0 }
func (embedded) Close() error { return nil }

func (embedded) Open(ctx context.Context, l Layout) (Site, error) {
	s := &fileSite{spec: job.Spec{
		Impl: l.Impl, Broker: job.Embedded, Variant: l.Variant,
		URL: filepath.Join(l.Dir, "bench.db"), In: "bench-in", Out: "bench-out", InFlight: l.InFlight,
	}}
	var err error
	if job.IsWaybill(l.Impl) {
		err = s.install(ctx, l)
	} else {
		s.layout = plainLayout
		err = s.declare()
	}
	if err != nil {
		return nil, errors.Join(err, s.Drop(ctx))
	}
	return s, nil
}

// fileSite is an SQLite file. While a client runs, it is read only.
type fileSite struct {
	spec    job.Spec
	db      *sql.DB // for looking at it
	waybill *installation
	layout  fileLayout
}

// fileLayout is how to look into a file: queries for how many messages input
// and output have had, how many of the input are done, and all outputs.
type fileLayout struct {
	in, out, done, outputs string
}

var plainLayout = fileLayout{
	in:      "SELECT coalesce(max(pos), 0) FROM inbox",
	out:     "SELECT coalesce(max(pos), 0) FROM outbox",
	done:    "SELECT upto FROM cursor",
	outputs: "SELECT payload FROM outbox ORDER BY pos",
}

// embedLayout is that of package embedbroker: a position is the topic's id
// and, in the lower 40 bits, the place in the topic.
func embedLayout(in, out string) fileLayout {
	const topic = "FROM topic t LEFT JOIN message m ON m.pos > t.id << 40 AND m.pos < (t.id + 1) << 40 WHERE t.name = '%s'"
	last := "SELECT coalesce(max(m.pos) & ((1 << 40) - 1), 0) " + topic
	return fileLayout{
		in:      fmt.Sprintf(last, in),
		out:     fmt.Sprintf(last, out),
		done:    fmt.Sprintf("SELECT upto & ((1 << 40) - 1) FROM cursor WHERE name = '%s.%s'", in, handler),
		outputs: fmt.Sprintf("SELECT m.payload "+topic+" ORDER BY m.pos", out),
	}
}

func (s *fileSite) Spec() job.Spec { return s.spec }

func (s *fileSite) declare() error {
	s.spec.In, s.spec.Out = "inbox", "outbox"
	return s.write(func(db *sql.DB) error {
		_, err := db.Exec(peer.SQLiteSchema)
		return err
	})
}

// write opens the file as its client does, for a moment.
func (s *fileSite) write(f func(*sql.DB) error) error {
	db, err := sql.Open("sqlite", peer.SQLiteDSN(s.spec.URL))
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	return errors.Join(f(db), db.Close())
}

func (s *fileSite) install(ctx context.Context, l Layout) (err error) {
	s.waybill, err = install(l, fmt.Sprintf("driver: embedded, path: %q", s.spec.URL), plain, s.spec.In, s.spec.Out)
	if err != nil {
		return err
	}
	s.spec.Config = s.waybill.config
	s.layout = embedLayout(s.spec.In, s.spec.Out)
	return s.waybill.provision(ctx, s.spec.In)
}

func (s *fileSite) Load(ctx context.Context, orders job.Orders, n int) error {
	if s.waybill != nil {
		return s.waybill.publish(ctx, s.spec.In, &lines{orders: orders, n: n})
	}
	return s.write(func(db *sql.DB) error {
		tx, err := db.Begin()
		if err != nil {
			return err
		}
		for seq := range n {
			_, err := tx.ExecContext(ctx, "INSERT INTO inbox (id, payload) VALUES (?, ?)", job.ID(seq), orders.Order(seq, noDue))
			if err != nil {
				return errors.Join(fmt.Errorf("fill the input: %w", err), tx.Rollback())
			}
		}
		return tx.Commit()
	})
}

// lines reads as orders, one a line.
type lines struct {
	orders job.Orders
	n, seq int
	rest   bytes.Buffer
}

func (l *lines) Read(p []byte) (int, error) {
	for l.rest.Len() < len(p) && l.seq < l.n {
		l.rest.Write(l.orders.Order(l.seq, noDue))
		l.rest.WriteByte('\n')
		l.seq++
	}
	if l.rest.Len() == 0 {
		return 0, io.EOF
	}
	return l.rest.Read(p)
}

// ask returns the one number that a query gives.
func (s *fileSite) ask(ctx context.Context, query string) (n int, err error) {
	if s.db == nil {
		// One connection: WAL readers wait for nobody and nobody for them.
		if s.db, err = sql.Open("sqlite", "file:"+s.spec.URL+"?_pragma=busy_timeout(5000)&_pragma=query_only(1)"); err != nil {
			return 0, err
		}
		s.db.SetMaxOpenConns(1)
	}
	if err := s.db.QueryRowContext(ctx, query).Scan(&n); err != nil {
		return 0, fmt.Errorf("look at %s: %w", filepath.Base(s.spec.URL), err)
	}
	return n, nil
}

func (s *fileSite) Depth(ctx context.Context) (int, error) { return s.ask(ctx, s.layout.out) }

func (s *fileSite) Left(ctx context.Context) (int, error) {
	all, err := s.ask(ctx, s.layout.in)
	if err != nil {
		return 0, err
	}
	done, err := s.ask(ctx, s.layout.done)
	return all - done, err
}

func (s *fileSite) Outputs(ctx context.Context, n int, see func([]byte)) error {
	rows, err := s.db.QueryContext(ctx, s.layout.outputs)
	if err != nil {
		return fmt.Errorf("read the outputs: %w", err)
	}
	defer rows.Close()
	for i := 0; i < n && rows.Next(); i++ {
		var payload []byte
		if err := rows.Scan(&payload); err != nil {
			return err
		}
		see(payload)
	}
	return rows.Err()
}

// Drop closes the file; the folder is the caller's to remove.
func (s *fileSite) Drop(context.Context) error {
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}
