//go:build linux

package disktest

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/hanwen/go-fuse/v2/fuse"
	"github.com/stretchr/testify/require"
)

// Disk is a mounted disk. Its methods are for one goroutine at a time.
type Disk struct {
	t      testing.TB
	dir    string
	fs     *filesystem
	server *fuse.Server
}

// Mount mounts an empty disk on the folder dir until the test ends. It needs
// /dev/fuse, and root or fusermount; with -short it skips the test.
func Mount(t testing.TB, dir string) *Disk {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs FUSE")
	}
	d := &Disk{t: t, dir: dir, fs: newFilesystem()}
	d.mount()
	t.Cleanup(d.unmount)
	return d
}

func (d *Disk) mount() {
	d.t.Helper()
	var err error
	d.server, err = fuse.NewServer(d.fs, d.dir, &fuse.MountOptions{
		DirectMount: true, // by mount(2) first: root needs no fusermount
		FsName:      "disktest", DisableXAttrs: true, DisableReadDirPlus: true,
	})
	require.NoError(d.t, err, "mount a disk: this needs /dev/fuse, and root or fusermount (package fuse3)")
	go d.server.Serve() // unmount waits for it
	require.NoError(d.t, d.server.WaitMount())
}

func (d *Disk) unmount() {
	d.t.Helper()
	// A process that is just being started has all files of this one open for a
	// moment.
	require.Eventually(d.t, func() bool { return d.server.Unmount() == nil }, 10*time.Second, time.Millisecond, "somebody has a file of the disk open")
	d.server.Wait()
}

// Cut takes the power away and gives it back: what was not made durable is
// forgotten. Nobody may have a file of the disk open, so processes are killed
// before. With chance, some of what was not durable is kept all the same:
// sectors of 512 bytes, and the names of whole folders.
func (d *Disk) Cut(chance *rand.Rand) {
	d.t.Helper()
	d.unmount()
	d.fs.inodes[fuse.FUSE_ROOT_ID].forget(chance)
	d.mount()
}

// Fill takes all free space away, or gives it back. Meanwhile no file can grow,
// but into its last block and by what others are cut short. One that is empty
// can be made, as on most file systems.
func (d *Disk) Fill(full bool) {
	d.fs.mu.Lock()
	defer d.fs.mu.Unlock()
	d.fs.full, d.fs.spare = full, 0
}
