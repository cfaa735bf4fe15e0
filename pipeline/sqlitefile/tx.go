package sqlitefile

import (
	"context"
	"database/sql"
)

// Tx is the transaction that a Write runs in, shared with other writes. It is
// for the writer's goroutine only, and only until the function returns.
type Tx struct {
	w        *writer
	bytes    int // bound to statements so far
	onUndo   []func()
	onCommit []func()
	atEnd    []func() error
	ends     map[any]any
}

// Exec runs a statement. It is prepared once for each text, so texts must come
// from a small set: values go into args.
func (tx *Tx) Exec(statement string, args ...any) (sql.Result, error) {
	for _, arg := range args {
		switch v := arg.(type) {
		case []byte:
			tx.bytes += len(v)
		case string:
			tx.bytes += len(v)
		}
	}
	stmt, err := tx.w.prepare(statement)
	if err != nil {
		return nil, err
	}
	return stmt.Exec(args...)
}

// Query runs a query, prepared as with Exec. It sees what the transaction has
// written. The rows must be closed before the next statement.
func (tx *Tx) Query(query string, args ...any) (*sql.Rows, error) {
	stmt, err := tx.w.prepare(query)
	if err != nil {
		return nil, err
	}
	return stmt.Query(args...)
}

// QueryRow is Query for one row.
func (tx *Tx) QueryRow(query string, args ...any) *sql.Row {
	stmt, err := tx.w.prepare(query)
	if err != nil { // the connection says the same in a row's shape
		return tx.w.conn.QueryRowContext(context.Background(), query, args...)
	}
	return stmt.QueryRow(args...)
}

// AtEnd returns the value registered under key in this transaction. The first
// time it is what init returns, and the function that init returns with it
// runs once before the commit: for what many writes of a transaction change
// and need be written only once. It runs also where the write that registered
// it was undone alone.
func (tx *Tx) AtEnd(key any, init func() (value any, end func() error)) any {
	if v, ok := tx.ends[key]; ok {
		return v
	}
	if tx.ends == nil {
		tx.ends = make(map[any]any)
	}
	v, end := init()
	tx.ends[key] = v
	tx.atEnd = append(tx.atEnd, end)
	return v
}

// OnUndo registers what to do if this write, or the whole transaction, is
// undone. Last registered runs first.
func (tx *Tx) OnUndo(f func()) { tx.onUndo = append(tx.onUndo, f) }

// OnCommit registers what to do once the transaction is durable, before any
// of its Writes returns. Like what AtEnd registers, it runs also where the
// write that registered it was undone alone.
func (tx *Tx) OnCommit(f func()) { tx.onCommit = append(tx.onCommit, f) }

// finish runs what is to run before the commit.
func (tx *Tx) finish() error {
	for _, end := range tx.atEnd {
		if err := end(); err != nil {
			return err
		}
	}
	return nil
}

func (tx *Tx) committed() {
	for _, f := range tx.onCommit {
		f()
	}
}

// undo runs what was registered since mark.
func (tx *Tx) undo(mark int) {
	for i := len(tx.onUndo) - 1; i >= mark; i-- {
		tx.onUndo[i]()
	}
	tx.onUndo = tx.onUndo[:mark]
}
