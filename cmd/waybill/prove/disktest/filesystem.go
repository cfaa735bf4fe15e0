//go:build linux

package disktest

import (
	"maps"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
)

// block is what space is given out in.
const block = 4096

// filesystem answers the kernel. Entries and attributes are asked for each
// time, as nothing is told of a cut; pages of files are cached while a file is
// open, which shared mappings need, and written through.
type filesystem struct {
	fuse.RawFileSystem // all else: not supported

	mu     sync.Mutex
	inodes map[uint64]*inode
	next   uint64
	full   bool // no file grows but by blocks that others gave back
	spare  int  // those, while it is full
}

func newFilesystem() *filesystem {
	return &filesystem{
		RawFileSystem: fuse.NewDefaultRawFileSystem(),
		inodes:        map[uint64]*inode{fuse.FUSE_ROOT_ID: newInode(fuse.FUSE_ROOT_ID, syscall.S_IFDIR|0o755)},
		next:          fuse.FUSE_ROOT_ID + 1,
	}
}

func (fs *filesystem) String() string { return "disktest" }

func (fs *filesystem) Lookup(_ <-chan struct{}, in *fuse.InHeader, name string, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.inodes[in.NodeId].names.now[name]
	if n == nil {
		return fuse.ENOENT
	}
	entry(n, out)
	return fuse.OK
}

func entry(n *inode, out *fuse.EntryOut) {
	out.NodeId, out.Generation = n.number, 1
	n.attr(&out.Attr)
}

func (fs *filesystem) GetAttr(_ <-chan struct{}, in *fuse.GetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.inodes[in.NodeId].attr(&out.Attr)
	return fuse.OK
}

func (fs *filesystem) SetAttr(_ <-chan struct{}, in *fuse.SetAttrIn, out *fuse.AttrOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.inodes[in.NodeId]
	if mode, ok := in.GetMode(); ok {
		n.mode = n.mode&syscall.S_IFMT | mode
	}
	if size, ok := in.GetSize(); ok {
		if !fs.allot(n, int(size)) {
			return fuse.Status(syscall.ENOSPC)
		}
		n.content.resize(int(size))
	}
	n.changed = time.Now()
	n.attr(&out.Attr)
	return fuse.OK
}

// add makes an inode and its name.
func (fs *filesystem) add(folder uint64, name string, mode uint32, out *fuse.EntryOut) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := newInode(fs.next, mode)
	fs.next++
	fs.inodes[n.number] = n
	fs.inodes[folder].names.now[name] = n
	entry(n, out)
	return fuse.OK
}

func (fs *filesystem) Mknod(_ <-chan struct{}, in *fuse.MknodIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.add(in.NodeId, name, in.Mode, out)
}

func (fs *filesystem) Mkdir(_ <-chan struct{}, in *fuse.MkdirIn, name string, out *fuse.EntryOut) fuse.Status {
	return fs.add(in.NodeId, name, syscall.S_IFDIR|in.Mode, out)
}

func (fs *filesystem) Create(_ <-chan struct{}, in *fuse.CreateIn, name string, out *fuse.CreateOut) fuse.Status {
	return fs.add(in.NodeId, name, syscall.S_IFREG|in.Mode, &out.EntryOut)
}

func (fs *filesystem) Unlink(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	delete(fs.inodes[in.NodeId].names.now, name)
	return fuse.OK
}

func (fs *filesystem) Rmdir(_ <-chan struct{}, in *fuse.InHeader, name string) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	folder := fs.inodes[in.NodeId]
	if len(folder.names.now[name].names.now) > 0 {
		return fuse.Status(syscall.ENOTEMPTY)
	}
	delete(folder.names.now, name)
	return fuse.OK
}

func (fs *filesystem) Rename(_ <-chan struct{}, in *fuse.RenameIn, name, to string) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if in.Flags != 0 {
		return fuse.EINVAL
	}
	from := fs.inodes[in.NodeId].names.now
	n := from[name]
	delete(from, name)
	fs.inodes[in.Newdir].names.now[to] = n
	return fuse.OK
}

func (fs *filesystem) Read(_ <-chan struct{}, in *fuse.ReadIn, _ []byte) (fuse.ReadResult, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	return fuse.ReadResultData(fs.inodes[in.NodeId].content.read(int64(in.Offset), int(in.Size))), fuse.OK
}

func (fs *filesystem) Write(_ <-chan struct{}, in *fuse.WriteIn, data []byte) (uint32, fuse.Status) {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	n := fs.inodes[in.NodeId]
	if end := int(in.Offset) + len(data); end > len(n.content.now) && !fs.allot(n, end) {
		return 0, fuse.Status(syscall.ENOSPC)
	}
	n.content.write(int64(in.Offset), data)
	n.changed = time.Now()
	return uint32(len(data)), fuse.OK
}

// allot reports whether there are blocks for a file of that size.
func (fs *filesystem) allot(n *inode, size int) bool {
	if !fs.full {
		return true
	}
	more := (size+block-1)/block - (len(n.content.now)+block-1)/block
	if more > fs.spare {
		return false
	}
	fs.spare -= more
	return true
}

func (fs *filesystem) sync(node uint64) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	fs.inodes[node].sync()
	return fuse.OK
}

func (fs *filesystem) Fsync(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.sync(in.NodeId)
}

func (fs *filesystem) FsyncDir(_ <-chan struct{}, in *fuse.FsyncIn) fuse.Status {
	return fs.sync(in.NodeId)
}

// Flush is close(2), which makes nothing durable.
func (fs *filesystem) Flush(<-chan struct{}, *fuse.FlushIn) fuse.Status { return fuse.OK }

func (fs *filesystem) OpenDir(<-chan struct{}, *fuse.OpenIn, *fuse.OpenOut) fuse.Status {
	return fuse.OK
}

func (fs *filesystem) ReadDir(_ <-chan struct{}, in *fuse.ReadIn, out *fuse.DirEntryList) fuse.Status {
	fs.mu.Lock()
	defer fs.mu.Unlock()
	folder := fs.inodes[in.NodeId].names.now
	for i, name := range slices.Sorted(maps.Keys(folder)) {
		if n := folder[name]; uint64(i) >= in.Offset && !out.AddDirEntry(fuse.DirEntry{Mode: n.mode, Name: name, Ino: n.number}) {
			break
		}
	}
	return fuse.OK
}

func (fs *filesystem) StatFs(_ <-chan struct{}, _ *fuse.InHeader, out *fuse.StatfsOut) fuse.Status {
	out.Bsize, out.NameLen, out.Blocks = block, 255, 1<<20
	fs.mu.Lock()
	defer fs.mu.Unlock()
	if !fs.full {
		out.Bfree, out.Bavail = 1<<19, 1<<19
	}
	return fuse.OK
}
