//go:build linux

package disktest

import (
	"maps"
	"math/rand/v2"
	"slices"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// inode is a file, a folder or a socket.
type inode struct {
	number  uint64
	mode    uint32
	changed time.Time
	content content // of a file
	names   names   // of a folder
}

// names are what a folder holds: as it is seen, and as it is after a cut.
type names struct{ now, safe map[string]*inode }

func newInode(number uint64, mode uint32) *inode {
	n := &inode{number: number, mode: mode, changed: time.Now()}
	if n.isFolder() {
		n.names = names{now: make(map[string]*inode), safe: make(map[string]*inode)}
	}
	return n
}

func (n *inode) isFolder() bool { return n.mode&syscall.S_IFMT == syscall.S_IFDIR }

// sync makes a file's bytes, or a folder's names, durable.
func (n *inode) sync() {
	if n.isFolder() {
		n.names.safe = maps.Clone(n.names.now)
		return
	}
	n.content.sync()
}

// forget goes back to what is durable, here and below. With chance, about half
// of the folders and sectors that were not are kept all the same.
func (n *inode) forget(chance *rand.Rand) {
	if !n.isFolder() {
		n.content.forget(chance)
		return
	}
	if chance != nil && chance.IntN(2) == 0 {
		n.sync()
	}
	n.names.now = maps.Clone(n.names.safe)
	for _, name := range slices.Sorted(maps.Keys(n.names.now)) {
		n.names.now[name].forget(chance)
	}
}

func (n *inode) attr(out *fuse.Attr) {
	out.Ino, out.Mode, out.Nlink = n.number, n.mode, 1
	out.Size, out.Blksize = uint64(len(n.content.now)), block
	out.Blocks = (out.Size + sector - 1) / sector
	out.SetTimes(&n.changed, &n.changed, &n.changed)
}
