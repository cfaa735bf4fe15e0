package sqlitefile

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"sync"
)

// scanner has the prepared statements of the connections that read, for what
// reads so much that database/sql's conversions of each value would cost as
// much as SQLite itself: measured 5.5 µs a message of 1 KB, and 2.5 without.
//
// The connections are its own, and no query of its is ever interrupted:
// database/sql closes a connection on which one was, and the statements that
// are kept here must not outlive theirs.
type scanner struct {
	db    *sql.DB
	mu    sync.Mutex
	stmts map[stmtKey]driver.StmtQueryContext
}

type stmtKey struct {
	conn  any // the driver's connection
	query string
}

// Scan runs a query and calls row with the values of each row, until it
// returns false. Values are int64, float64, string, []byte or nil; the slice
// is reused for the next row, what is in it is not. Texts of queries must come
// from a small set: each is prepared once a connection.
func (f *File) Scan(ctx context.Context, query string, row func(values []driver.Value) (more bool), args ...int64) error {
	conn, err := f.scanner.db.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close() // gives it back
	named := make([]driver.NamedValue, len(args))
	for i, arg := range args {
		named[i] = driver.NamedValue{Ordinal: i + 1, Value: arg}
	}
	return conn.Raw(func(c any) error {
		stmt, err := f.scanner.prepare(ctx, c, query)
		if err != nil {
			return err
		}
		rows, err := stmt.QueryContext(context.WithoutCancel(ctx), named) // see scanner; it would cost a goroutine, too
		if err != nil {
			return err
		}
		return errors.Join(each(ctx, rows, row), rows.Close())
	})
}

func each(ctx context.Context, rows driver.Rows, row func([]driver.Value) bool) error {
	values := make([]driver.Value, len(rows.Columns()))
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		switch err := rows.Next(values); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
		if !row(values) {
			return nil
		}
	}
}

func (s *scanner) prepare(ctx context.Context, conn any, query string) (driver.StmtQueryContext, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	key := stmtKey{conn, query}
	if stmt := s.stmts[key]; stmt != nil {
		return stmt, nil
	}
	c, ok := conn.(driver.ConnPrepareContext)
	if !ok {
		return nil, fmt.Errorf("prepare: the driver's %T can't", conn)
	}
	prepared, err := c.PrepareContext(ctx, query)
	if err != nil {
		return nil, err
	}
	stmt, ok := prepared.(driver.StmtQueryContext)
	if !ok {
		return nil, errors.Join(fmt.Errorf("prepare: the driver's %T can't", prepared), prepared.Close())
	}
	if s.stmts == nil {
		s.stmts = make(map[stmtKey]driver.StmtQueryContext)
	}
	s.stmts[key] = stmt
	return stmt, nil
}

// close finalizes the statements, then closes their connections.
func (s *scanner) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var errs []error
	for _, stmt := range s.stmts {
		if c, ok := stmt.(io.Closer); ok {
			errs = append(errs, c.Close())
		}
	}
	s.stmts = nil
	return errors.Join(append(errs, s.db.Close())...)
}
