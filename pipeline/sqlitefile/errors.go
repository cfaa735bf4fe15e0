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
	return false
}

// mark is Mark for what was a write.
func mark(err error) error {
	if !isFatal(err) {
		return err
	}
	return fmt.Errorf("write to the file: %w", Mark(err))
}

// Mark gives an error of the file or its disk, from a reader or a migration,
// what one of Write has: pipeline.ReasonUnavailable and, for what a person can
// mend, the next step. Other errors are as they were.
func Mark(err error) error {
	if !isFatal(err) {
		return err
	}
	switch code(err) {
	case sqlite3.SQLITE_FULL:
		err = fmt.Errorf("%w: free some space on it, writing goes on by itself", err)
	case sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB:
		err = fmt.Errorf("%w: stop, and restore the file from a backup", err)
	}
	return pipeline.WithReason(err, pipeline.ReasonUnavailable)
}
