package sqlitefile

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"runtime"
	"sync"
	"time"

	_ "modernc.org/sqlite" // the driver "sqlite"
)

// Options of Open.
type Options struct {
	// Normal sets synchronous=NORMAL: faster, and the last commits may be
	// gone after a power loss. The default is FULL. The first opener decides.
	Normal bool
	// Schema is run by every Open, as several may keep tables of their own in
	// the file; it must be idempotent.
	Schema string
}

// File is an open SQLite file. Its methods may be called by many goroutines.
type File struct {
	path    string
	lock    *lock
	reader  *sql.DB
	scanner scanner
	writer  *writer
	holders int
}

// opened are the files of this process by path.
var opened = struct {
	sync.Mutex
	files map[string]*File
}{files: make(map[string]*File)}

// Open opens the file at path, making it if it is not there. If another
// process has it open, the error says which. Each Open wants a Close.
func Open(path string, opts Options) (*File, error) {
	name, err := resolve(path)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	opened.Lock()
	defer opened.Unlock()
	f := opened.files[name]
	if f == nil {
		if f, err = open(name, opts); err != nil {
			return nil, fmt.Errorf("open %s: %w", path, mark(path, err))
		}
		opened.files[name] = f
	} else if err = f.writer.write(context.Background(), schema(opts.Schema)); err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	f.holders++
	return f, nil
}

// schema makes the tables of a file that is open already.
func schema(text string) func(*Tx) error {
	return func(tx *Tx) error {
		if _, err := tx.w.conn.ExecContext(context.Background(), text); err != nil {
			return fmt.Errorf("make tables: %w", err)
		}
		return nil
	}
}

// Migrate calls fn with a connection of its own that may write, for a tool
// that wants database/sql. Its transactions begin at once (IMMEDIATE) and wait
// up to 5 s for the writer's, and the other way round, so it is for short work
// when a program starts.
func (f *File) Migrate(fn func(*sql.DB) error) error {
	db, err := sql.Open("sqlite", dsn(f.path, Options{}, false)+"&_txlock=immediate")
	if err != nil {
		return err
	}
	db.SetMaxOpenConns(1)
	return f.Mark(errors.Join(fn(db), db.Close()))
}

// resolve returns the one name that a path has in this process.
func resolve(path string) (string, error) {
	path, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	folder, err := filepath.EvalSymlinks(filepath.Dir(path))
	return filepath.Join(folder, filepath.Base(path)), err
}

func open(path string, opts Options) (_ *File, err error) {
	l, err := acquire(path + ".lock")
	if err != nil {
		return nil, err
	}
	f := &File{path: path, lock: l}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.release())
		}
	}()
	if f.writer, err = newWriter(path, dsn(path, opts, false), opts.Schema); err != nil {
		return nil, err
	}
	if f.reader, err = openReader(path, opts); err != nil {
		return nil, err
	}
	if f.scanner.db, err = openReader(path, opts); err != nil {
		return nil, err
	}
	return f, f.inspect()
}

// inspectTime bounds the look at a file that is opened: enough for a gigabyte
// or two where the disk is quick. What lies beyond is looked at when it is
// read.
const inspectTime = 2 * time.Second

// inspect looks for pages that make no sense. What is inside of values has no
// checksum in SQLite.
func (f *File) inspect() error {
	ctx, cancel := context.WithTimeout(context.Background(), inspectTime)
	defer cancel()
	var found string
	err := f.reader.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&found)
	switch {
	case ctx.Err() != nil:
		return nil
	case err == nil && found != "ok":
		return f.Damaged(errors.New(found))
	}
	return f.Mark(err)
}

func openReader(path string, opts Options) (*sql.DB, error) {
	db, err := sql.Open("sqlite", dsn(path, opts, true))
	if err != nil {
		return nil, err
	}
	connections := max(4, runtime.NumCPU())
	db.SetMaxOpenConns(connections)
	db.SetMaxIdleConns(connections)
	return db, db.Ping()
}

// dsn sets the pragmas on each connection. Pages of 16 KiB suit messages of
// about 1 KiB: measured twice as fast as the default of 4 KiB. Checkpoints are
// SQLite's own, every 1,000 pages: of 250, 1,000, 4,000 and 16,000 that made
// the shortest waits (64 writers: 99.9 % within 24 ms, at most 37 ms).
func dsn(path string, opts Options, readOnly bool) string {
	q := url.Values{}
	pragma := func(p string) { q.Add("_pragma", p) }
	pragma("busy_timeout(5000)")
	if readOnly {
		pragma("query_only(1)")
	} else {
		pragma("page_size(16384)")
		// Not a pragma among the others: the driver runs those in the order of
		// their names, and the first journal_mode fixes the page size.
		q.Set("_journal_mode", "WAL")
	}
	if opts.Normal {
		pragma("synchronous(NORMAL)")
	} else {
		pragma("synchronous(FULL)")
	}
	return (&url.URL{Scheme: "file", Opaque: (&url.URL{Path: path}).EscapedPath(), RawQuery: q.Encode()}).String()
}

// Path is the file's absolute path.
func (f *File) Path() string { return f.path }

// Reader returns the connections for reading. Writing through them fails.
func (f *File) Reader() *sql.DB { return f.reader }

// Write runs fn in a transaction, with other writes, and returns once that is
// durable, or with the error that undid it. fn runs on the writer's goroutine:
// it must not block. It may be called more than once, the last time being the
// one that counts, so it must leave nothing behind but its writes and what it
// registers with tx. A panic in fn is its error.
//
// An error of fn is returned as it is. An error of the file or its disk carries
// pipeline.ReasonUnavailable, as does ErrClosed, and the file may work again
// later.
//
// If ctx is done before fn was begun, fn never runs and the error is ctx's;
// after that Write waits for the end, which is near. So an error always means
// that nothing was written.
func (f *File) Write(ctx context.Context, fn func(tx *Tx) error) error {
	return f.writer.write(ctx, fn)
}

// Start begins a Write that nobody waits for, and returns. told is called with
// its end, by the goroutine that writes, so it must return at once. False: it was
// not begun, as others wait or the file is closed.
func (f *File) Start(fn func(tx *Tx) error, told func(error)) bool {
	return f.writer.start(fn, told)
}

// Close lets go of the file; the last Close waits for writes under way and
// closes it.
func (f *File) Close() error {
	opened.Lock()
	defer opened.Unlock()
	if f.holders--; f.holders > 0 {
		return nil
	}
	delete(opened.files, f.path)
	return f.release()
}

func (f *File) release() error {
	var errs []error
	if f.reader != nil {
		errs = append(errs, f.reader.Close())
	}
	if f.scanner.db != nil {
		errs = append(errs, f.scanner.close())
	}
	if f.writer != nil {
		errs = append(errs, f.writer.close(), f.writer.guard.close())
	}
	return errors.Join(append(errs, f.lock.release())...)
}
