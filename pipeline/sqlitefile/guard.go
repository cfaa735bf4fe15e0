package sqlitefile

import (
	"errors"
	"fmt"
	"os"
	"sync"
	"time"
)

// lookEvery is how often the guard looks where nothing is written.
const lookEvery = time.Second

// guard notices that somebody has put another file in the place of the open
// one, or other bytes at its beginning: SQLite would go on for a long time with
// the file that nobody can open any more, and with the pages that it has in
// memory, and everything confirmed meanwhile would be gone with the process.
type guard struct {
	path      string
	head      *os.File // the file itself; closed after SQLite's own, whose locks would go with it
	main, wal os.FileInfo
}

// magic is what every SQLite file begins with.
const magic = "SQLite format 3\x00"

// newGuard is for a file that is open and has its write-ahead log.
func newGuard(path string) (_ *guard, err error) {
	g := &guard{path: path}
	if g.head, err = os.Open(path); err != nil {
		return nil, err
	}
	if g.main, err = g.head.Stat(); err == nil {
		g.wal, err = os.Stat(path + "-wal")
	}
	if err != nil {
		return nil, errors.Join(err, g.head.Close())
	}
	return g, nil
}

// errReplaced: what is at the path is not what is open.
var errReplaced = fmt.Errorf("%w: it was replaced or removed while it was in use", ErrDamaged)

// check costs three system calls, which are little beside a commit's fsync.
func (g *guard) check() error {
	if moved(g.path, g.main) || moved(g.path+"-wal", g.wal) {
		return errReplaced
	}
	var begin [16]byte
	if _, err := g.head.ReadAt(begin[:], 0); err != nil || string(begin[:]) != magic {
		return fmt.Errorf("%w: it was overwritten: %s", ErrDamaged, restore(g.path))
	}
	return nil
}

// moved reports whether another file, or none, is at the path.
func moved(path string, opened os.FileInfo) bool {
	now, err := os.Stat(path)
	return errors.Is(err, os.ErrNotExist) || err == nil && !os.SameFile(now, opened)
}

func (g *guard) close() error { return g.head.Close() }

// damage is the first that was noticed of it, or what is known better since.
type damage struct {
	mu  sync.Mutex
	err error
}

func (d *damage) note(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err == nil || errors.Is(err, errReplaced) {
		d.err = err
	}
}

func (d *damage) get() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.err
}
