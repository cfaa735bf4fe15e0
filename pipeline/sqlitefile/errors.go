package sqlitefile

import (
	"errors"
	"fmt"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"github.com/waybill-dev/waybill/pipeline"
)

// code is SQLite's primary result code in err, or 0.
func code(err error) int {
	var e *sqlite.Error
	if !errors.As(err, &e) {
		return sqlite3.SQLITE_OK
	}
	return e.Code() & 0xff
}

// isFatal reports whether err is the file's or the disk's fault, which no
// other write of the same transaction would escape.
func isFatal(err error) bool {
	switch code(err) {
	case sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB,
		sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_NOMEM, sqlite3.SQLITE_BUSY,
		sqlite3.SQLITE_LOCKED:
		return true
	}
	return isDamage(err)
}

// ErrDamaged is what a file says that is no longer what was written to it, at
// Open or later. The error says what to do.
var ErrDamaged = errors.New("the file is damaged")

func isDamage(err error) bool {
	c := code(err)
	return c == sqlite3.SQLITE_CORRUPT || c == sqlite3.SQLITE_NOTADB || errors.Is(err, ErrDamaged)
}

// restore is the next step where a file is damaged.
func restore(path string) string {
	return fmt.Sprintf("stop waybill, and restore %s from a backup (docs/operations.md, \"A file is damaged\")", path)
}

// mark gives an error of the file or its disk pipeline.ReasonUnavailable and,
// for what a person can mend, the next step. Other errors are as they were.
func mark(path string, err error) error {
	if !isFatal(err) || pipeline.ReasonOf(err) == pipeline.ReasonUnavailable { // the latter has been here
		return err
	}
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		err = fmt.Errorf("%w: free some space on it, writing goes on by itself", err)
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN:
		err = fmt.Errorf("%w: see that the disk is well and has some free space, and that %s may be written", err, path)
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED:
		err = fmt.Errorf("%w: another program has locked %s: let it end, writing goes on by itself", err, path)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		err = fmt.Errorf("%w: %w: %s", ErrDamaged, err, restore(path))
	}
	return pipeline.WithReason(err, pipeline.ReasonUnavailable)
}

// Mark gives an error of a reader what one of Write has: for one of the file
// or its disk pipeline.ReasonUnavailable and, for what a person can mend, the
// next step. If it says that the file is damaged, the file takes no more
// writes. Other errors are as they were.
func (f *File) Mark(err error) error {
	err = mark(f.path, err)
	if isDamage(err) {
		f.writer.damage.note(err)
	}
	return err
}

// Damaged is Mark for what only its caller can see to be damage.
func (f *File) Damaged(err error) error {
	return f.Mark(pipeline.WithReason(fmt.Errorf("%w: %w: %s", ErrDamaged, err, restore(f.path)), pipeline.ReasonUnavailable))
}

// Damage is why the file takes no more writes until it is opened anew: what it
// holds is not what was written, or it is no longer the one at its path. Nil:
// nothing of that kind was noticed.
func (f *File) Damage() error { return f.writer.damage.get() }
