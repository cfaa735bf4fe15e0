package sqlitefile

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// lock keeps other processes off the file. It is a file beside it, because
// SQLite's own locks last a transaction. The system drops it when the process
// ends, however it ends. The file stays: deleting it would let two processes
// lock two files of the same name.
type lock struct{ file *os.File }

// errLocked is what tryLock returns for a lock that another holds.
var errLocked = errors.New("locked")

// acquire takes the lock, and writes who has it into its file.
func acquire(path string) (*lock, error) {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) //nolint:gosec // beside the user's own file
	if err != nil {
		return nil, err
	}
	if err := tryLock(file); err != nil {
		defer file.Close()
		if !errors.Is(err, errLocked) {
			return nil, fmt.Errorf("lock: %w", err)
		}
		pid, _ := io.ReadAll(io.LimitReader(file, 32)) // only to be helpful
		return nil, fmt.Errorf("it is in use by another waybill (pid %s): stop that one, or talk to it with --server", strings.TrimSpace(string(pid)))
	}
	// Over the one before, and as long: on a full disk there is room for it.
	if _, err := file.WriteAt(fmt.Appendf(nil, "%-10d\n", os.Getpid()), 0); err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &lock{file}, nil
}

func (l *lock) release() error { return l.file.Close() }
