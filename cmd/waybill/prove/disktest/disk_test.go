//go:build linux

package disktest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"
)

// mapEnv has this test binary map a file twice, and write through one mapping.
const mapEnv = "DISKTEST_MAP"

func TestMain(m *testing.M) {
	if path := os.Getenv(mapEnv); path != "" {
		mapTwice(path)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func mapTwice(path string) {
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	fatal(err)
	one, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED)
	fatal(err)
	two, err := syscall.Mmap(int(f.Fd()), 0, 4096, syscall.PROT_READ, syscall.MAP_SHARED)
	fatal(err)
	copy(one, "mapped")
	fmt.Print(string(two[:6]))
}

func fatal(err error) {
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
}

func mountTest(t *testing.T) (*Disk, string) {
	t.Helper()
	dir := t.TempDir()
	return Mount(t, dir), dir
}

// put writes to a file at an offset, and syncs it if asked to.
func put(t *testing.T, path string, offset int64, text string, sync bool) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	require.NoError(t, err)
	_, err = f.WriteAt([]byte(text), offset)
	require.NoError(t, err)
	if sync {
		require.NoError(t, f.Sync())
	}
	require.NoError(t, f.Close())
}

func syncFolder(t *testing.T, path string) {
	t.Helper()
	f, err := os.Open(path)
	require.NoError(t, err)
	require.NoError(t, f.Sync())
	require.NoError(t, f.Close())
}

func has(t *testing.T, path, text string) {
	t.Helper()
	got, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, text, string(got))
}

func TestCut_Bytes(t *testing.T) {
	t.Parallel()
	d, dir := mountTest(t)
	file := filepath.Join(dir, "f")
	put(t, file, 0, "durable", true)
	syncFolder(t, dir)
	put(t, file, 0, "changed and longer", false)
	has(t, file, "changed and longer")
	d.Cut(nil)
	has(t, file, "durable")

	require.NoError(t, os.Truncate(file, 3))
	has(t, file, "dur")
	d.Cut(nil)
	has(t, file, "durable")

	require.NoError(t, os.Truncate(file, 3))
	put(t, file, 5, "x", true)
	d.Cut(nil)
	has(t, file, "dur\x00\x00x")
}

func TestCut_Names(t *testing.T) {
	t.Parallel()
	d, dir := mountTest(t)
	put(t, filepath.Join(dir, "kept"), 0, "k", true)
	put(t, filepath.Join(dir, "renamed"), 0, "r", true)
	syncFolder(t, dir)
	put(t, filepath.Join(dir, "made"), 0, "m", true) // the file's sync is not its name's
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	require.NoError(t, os.Remove(filepath.Join(dir, "kept")))
	require.NoError(t, os.Rename(filepath.Join(dir, "renamed"), filepath.Join(dir, "new")))
	require.NoFileExists(t, filepath.Join(dir, "kept"))
	has(t, filepath.Join(dir, "new"), "r")
	d.Cut(nil)
	has(t, filepath.Join(dir, "kept"), "k")
	has(t, filepath.Join(dir, "renamed"), "r")
	for _, name := range []string{"made", "folder", "new"} {
		require.NoFileExists(t, filepath.Join(dir, name))
		require.NoDirExists(t, filepath.Join(dir, name))
	}

	require.NoError(t, os.Rename(filepath.Join(dir, "renamed"), filepath.Join(dir, "new")))
	require.NoError(t, os.Mkdir(filepath.Join(dir, "folder"), 0o700))
	put(t, filepath.Join(dir, "folder", "lost"), 0, "l", true)
	syncFolder(t, dir)
	d.Cut(nil)
	has(t, filepath.Join(dir, "new"), "r")
	inside, err := os.ReadDir(filepath.Join(dir, "folder"))
	require.NoError(t, err)
	require.Empty(t, inside)
}

// TestCut_Chance: of what was not synced each sector is there whole or not at
// all, and over some cuts both happen.
func TestCut_Chance(t *testing.T) {
	t.Parallel()
	d, dir := mountTest(t)
	file := filepath.Join(dir, "f")
	before, after := bytes.Repeat([]byte("-"), 64*sector), bytes.Repeat([]byte("+"), 64*sector)
	put(t, file, 0, string(before), true)
	syncFolder(t, dir)
	put(t, file, 0, string(after), false)
	put(t, filepath.Join(dir, "g"), 0, "", false)
	chance := rand.New(rand.NewPCG(1, 2)) //nolint:gosec // chance, not secrets
	d.Cut(chance)
	got, err := os.ReadFile(file)
	require.NoError(t, err)
	count := map[byte]int{}
	for s := 0; s < len(got); s += sector {
		require.Equal(t, bytes.Repeat(got[s:s+1], sector), got[s:s+sector])
		count[got[s]]++
	}
	require.Len(t, count, 2, "some are kept and some are not")
	for range 20 {
		if _, err := os.Stat(filepath.Join(dir, "g")); err == nil {
			return
		}
		put(t, filepath.Join(dir, "g"), 0, "", false)
		d.Cut(chance)
	}
	require.Fail(t, "names are never kept")
}

// TestDisk_Maps: two shared mappings of a file are one memory, and reach the
// file. SQLite's processes talk to each other that way.
func TestDisk_Maps(t *testing.T) {
	t.Parallel()
	_, dir := mountTest(t)
	put(t, filepath.Join(dir, "f"), 0, string(make([]byte, 4096)), false)
	cmd := exec.Command(os.Args[0]) // another process: see the package comment
	cmd.Env = append(os.Environ(), mapEnv+"="+filepath.Join(dir, "f"))
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "mapped", string(out))
	got, err := os.ReadFile(filepath.Join(dir, "f"))
	require.NoError(t, err)
	require.Equal(t, "mapped", string(got[:6]))
}

func TestDisk_Socket(t *testing.T) {
	t.Parallel()
	_, dir := mountTest(t)
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	conn, err := net.Dial("unix", filepath.Join(dir, "s"))
	require.NoError(t, err)
	require.NoError(t, conn.Close())
	require.NoError(t, l.Close())
}

func TestFill(t *testing.T) {
	t.Parallel()
	d, dir := mountTest(t)
	file, other := filepath.Join(dir, "f"), filepath.Join(dir, "g")
	put(t, file, 0, "here", true)
	d.Fill(true)
	require.NoError(t, os.WriteFile(other, nil, 0o600))
	require.ErrorIs(t, os.WriteFile(other, []byte("x"), 0o600), syscall.ENOSPC)
	put(t, file, 0, "HERE", false) // what has its space is overwritten
	require.ErrorIs(t, os.Truncate(file, block+1), syscall.ENOSPC)
	require.NoError(t, os.Truncate(file, 0))
	require.NoError(t, os.WriteFile(other, []byte("x"), 0o600), "in the space of the other")
	d.Fill(false)
	put(t, file, 0, "longer", false)
}
