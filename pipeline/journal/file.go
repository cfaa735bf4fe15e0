package journal

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
)

// A file is a head, of the size of a slot, and slots. The head says what file
// it is and whose: the life of the process that wrote it.
const (
	magic    = "WBSLOTS1"
	headSize = slotSize
)

// left is what the process before has left in its file.
type left struct {
	known bool   // there was such a file, and all of it was there
	life  string // of that process
	runs  []run  // what ran when it died
}

// file is the file of slots.
type file struct {
	*os.File
	mapped []byte // nil: it is not
}

// openFile takes the file, which is made if it is not there, and returns what
// the process before has left in it. It fails if another process has it.
func openFile(path string) (*file, left, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // in the data folder
	if err != nil {
		return nil, left{}, err
	}
	if err := lockFile(f); err != nil {
		return nil, left{}, errors.Join(fmt.Errorf("lock %s: another waybill may run on this data folder: stop it, or give this one a `data:` of its own: %w", path, err), f.Close())
	}
	text, err := io.ReadAll(f)
	if err != nil {
		return nil, left{}, errors.Join(err, f.Close())
	}
	return &file{File: f}, parseFile(text), nil
}

func parseFile(text []byte) left {
	if len(text) < headSize || len(text)%slotSize != 0 || !bytes.HasPrefix(text, []byte(magic)) {
		return left{}
	}
	life, _, ended := bytes.Cut(text[len(magic):headSize], []byte{0})
	return left{known: ended, life: string(life), runs: parse(text[headSize:])}
}

// begin empties the file for a new life and maps that many slots into memory.
func (f *file) begin(life string, number int) (*slots, error) {
	text := make([]byte, headSize+number*slotSize)
	copy(text, magic+life)
	// Whole: a page that has no place on the disk would kill this process when
	// it is written to on a disk that is full. Not truncated before: whoever
	// dies in between leaves the old file, or one that says nothing.
	if _, err := f.WriteAt(text, 0); err != nil {
		return nil, err
	}
	if err := f.Truncate(int64(len(text))); err != nil {
		return nil, err
	}
	mapped, err := mapFile(f.File, len(text))
	if err != nil {
		return nil, err
	}
	f.mapped = mapped
	return newSlots(mapped[headSize:]), nil
}

// close lets go of the file. With busy, somebody may still write to the
// memory: it stays mapped until the process ends.
func (f *file) close(busy bool) error {
	var err error
	if f.mapped != nil && !busy {
		err = unmapFile(f.mapped)
	}
	return errors.Join(err, unlockFile(f.File), f.Close())
}

func newLife() string { return rand.Text() }
