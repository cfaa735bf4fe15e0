package sqlitefile

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// Bounds of a transaction, so that no write waits for long behind others and
// the write-ahead log stays small.
const (
	maxBatch      = 512     // writes
	fairBatch     = 64      // writes that are worth an fsync: more are taken, but not waited for
	maxBatchBytes = 8 << 20 // of text and blobs; the write that reaches it is the last
)

// maxQueue is how many writes may wait. What finds no place waits on a goroutine
// of its own, which costs more than the write: so it is more than windows have in
// flight as a rule.
const maxQueue = 16 * maxBatch

// ErrClosed is the error of a Write after Close.
var ErrClosed = errors.New("the file is closed")

// writer is the one connection that writes, and its goroutine.
type writer struct {
	path   string
	guard  *guard
	damage damage
	db     *sql.DB
	conn   *sql.Conn
	stmts  map[string]*sql.Stmt
	queue  chan *request
	mu     sync.RWMutex // held for reading while a request enters the queue
	closed bool
	done   chan struct{}
}

// request is one Write.
type request struct {
	fn    func(*Tx) error
	state atomic.Int32
	err   error
	done  chan struct{} // nil: told is
	told  func(error)
}

func (r *request) end() {
	if r.done != nil {
		close(r.done)
		return
	}
	r.told(r.err)
}

const (
	requestWaits int32 = iota
	requestRuns
	requestGone // its caller gave up before it ran
)

func newWriter(path, dsn, schema string) (_ *writer, err error) {
	w := &writer{path: path, stmts: make(map[string]*sql.Stmt), queue: make(chan *request, maxQueue), done: make(chan struct{})}
	if w.db, err = sql.Open("sqlite", dsn); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.db.Close())
		}
	}()
	if w.conn, err = w.db.Conn(context.Background()); err != nil {
		return nil, err
	}
	if _, err = w.conn.ExecContext(context.Background(), schema); err != nil {
		return nil, errors.Join(fmt.Errorf("make tables: %w", err), w.conn.Close())
	}
	// A read makes the write-ahead log, which the guard looks at.
	var tables int
	if err = w.conn.QueryRowContext(context.Background(), "SELECT count(*) FROM sqlite_master").Scan(&tables); err == nil {
		w.guard, err = newGuard(path)
	}
	if err != nil {
		return nil, errors.Join(err, w.conn.Close())
	}
	go w.run()
	return w, nil
}

func (w *writer) write(ctx context.Context, fn func(*Tx) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	r := &request{fn: fn, done: make(chan struct{})}
	if err := w.enqueue(ctx, r); err != nil {
		return err
	}
	select {
	case <-r.done:
		return r.err
	case <-ctx.Done():
		if r.state.CompareAndSwap(requestWaits, requestGone) {
			return ctx.Err()
		}
		<-r.done
		return r.err
	}
}

func (w *writer) start(fn func(*Tx) error, told func(error)) bool {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return false
	}
	select {
	case w.queue <- &request{fn: fn, told: told}:
		return true
	default:
		return false
	}
}

func (w *writer) enqueue(ctx context.Context, r *request) error {
	w.mu.RLock()
	defer w.mu.RUnlock()
	if w.closed {
		return pipeline.WithReason(ErrClosed, pipeline.ReasonUnavailable)
	}
	select {
	case w.queue <- r:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// run takes batches until the queue is closed and empty, and looks after the
// file meanwhile.
func (w *writer) run() {
	defer close(w.done)
	look := time.NewTicker(lookEvery)
	defer look.Stop()
	batch := make([]*request, 0, maxBatch)
	for {
		select {
		case <-look.C:
			w.failed(w.guard.check())
		case first, open := <-w.queue:
			if !open {
				return
			}
			batch = w.transact(first, batch[:0])
			for i, r := range batch {
				r.end()
				batch[i] = nil
			}
		}
	}
}

// failed notes that the file is damaged, if err says so. What is in a file
// that is only no longer at its path is saved once.
func (w *writer) failed(err error) {
	if !isDamage(err) || errors.Is(w.damage.get(), errReplaced) {
		return
	}
	if errors.Is(err, errReplaced) {
		err = w.rescue()
	}
	w.damage.note(mark(w.path, err))
}

// rescue copies all that was committed, which only this process still has, and
// says where it is.
func (w *writer) rescue() error {
	saved := w.path + ".rescued-" + time.Now().UTC().Format("20060102T150405")
	if _, err := w.conn.ExecContext(context.Background(), "VACUUM INTO ?", saved); err != nil {
		return fmt.Errorf("%w: it could not be copied: %w: %s", errReplaced, err, restore(w.path))
	}
	return fmt.Errorf("%w: all that was confirmed is in %s: stop waybill, remove %s and %[3]s-wal, rename the copy to %[3]s, and start waybill again", errReplaced, saved, w.path)
}

// transact writes first and what else waits in one transaction, and returns
// them. If one fails by itself, each runs again in a savepoint of its own, so
// that it fails alone: dear, and rare.
func (w *writer) transact(first *request, batch []*request) []*request {
	batch, err := w.together(first, batch)
	if err != nil && len(batch) > 1 && !isFatal(err) {
		err = w.apart(batch)
	}
	if isFatal(err) {
		err = fmt.Errorf("write to %s: %w", w.path, mark(w.path, err))
	}
	for _, r := range batch {
		if r.err == nil {
			r.err = err
		}
	}
	return batch
}

// together runs writes as they come, until none waits or the transaction is
// full. Its error is the first; then nothing was written.
func (w *writer) together(first *request, batch []*request) ([]*request, error) {
	err := w.inTransaction(func(tx *Tx) error {
		for r := first; r != nil; r = w.next(tx, len(batch)) {
			if !r.state.CompareAndSwap(requestWaits, requestRuns) {
				continue // nobody waits for it
			}
			batch = append(batch, r)
			if err := r.call(tx); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && len(batch) == 0 && first.state.CompareAndSwap(requestWaits, requestRuns) {
		batch = append(batch, first) // it did not even begin
	}
	return batch, err
}

// next returns a write that waits, if the transaction has room for it. Before
// it says that none does, it lets run who is about to write, which are those
// whom the last commit has answered. With many writers that makes a third of
// the commits; a single one it costs nothing.
func (w *writer) next(tx *Tx, size int) *request {
	if size >= maxBatch || tx.bytes >= maxBatchBytes {
		return nil
	}
	for yielded := false; ; yielded = true {
		select {
		case r := <-w.queue: // nil once it is closed and empty
			return r
		default:
		}
		if yielded || size >= fairBatch {
			return nil
		}
		runtime.Gosched()
	}
}

// apart runs the writes each in a savepoint. Those that fail have their error;
// an error of its own means that nothing was written.
func (w *writer) apart(batch []*request) error {
	err := w.inTransaction(func(tx *Tx) error {
		for _, r := range batch {
			err := w.alone(tx, r)
			if r.err = err; isFatal(err) {
				return err
			}
		}
		return nil
	})
	if err != nil {
		for _, r := range batch {
			r.err = nil // the transaction's error is the one that counts
		}
	}
	return err
}

// alone runs one write in a savepoint.
func (w *writer) alone(tx *Tx, r *request) error {
	if err := w.exec("SAVEPOINT one"); err != nil {
		return err
	}
	before := len(tx.onUndo)
	err := r.call(tx)
	if err != nil {
		tx.undo(before)
		err = errors.Join(err, w.exec("ROLLBACK TO one"))
	}
	return errors.Join(err, w.exec("RELEASE one"))
}

// call runs the write. A panic is an error as any other: it must not end the
// one goroutine that writes.
func (r *request) call(tx *Tx) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = &pipeline.PanicError{Value: v, Stack: debug.Stack()}
		}
	}()
	return r.fn(tx)
}

// inTransaction commits what fn does, or undoes it.
func (w *writer) inTransaction(fn func(*Tx) error) error {
	if err := w.damage.get(); err != nil {
		return err
	}
	if err := w.exec("BEGIN IMMEDIATE"); err != nil {
		return err
	}
	tx := &Tx{w: w}
	err := fn(tx)
	if err == nil {
		err = tx.finish()
	}
	if err == nil {
		err = w.guard.check()
	}
	if err == nil {
		err = w.exec("COMMIT")
	}
	if err != nil {
		_ = w.exec("ROLLBACK") // SQLite may have rolled back by itself
		tx.undo(0)
		w.failed(err)
		return cmp.Or(w.damage.get(), err)
	}
	tx.committed()
	return nil
}

func (w *writer) exec(statement string) error {
	stmt, err := w.prepare(statement)
	if err != nil {
		return err
	}
	_, err = stmt.Exec()
	return err
}

// prepare returns the statement, prepared the first time.
func (w *writer) prepare(statement string) (*sql.Stmt, error) {
	if stmt := w.stmts[statement]; stmt != nil {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(context.Background(), statement)
	if err != nil {
		return nil, err
	}
	w.stmts[statement] = stmt
	return stmt, nil
}

// close writes what waits and closes the connection.
func (w *writer) close() error {
	w.mu.Lock()
	w.closed = true
	close(w.queue)
	w.mu.Unlock()
	<-w.done
	var errs []error
	for _, stmt := range w.stmts {
		errs = append(errs, stmt.Close())
	}
	return errors.Join(append(errs, w.conn.Close(), w.db.Close())...)
}
