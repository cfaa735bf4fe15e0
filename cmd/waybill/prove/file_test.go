package prove

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFileLocked: another program has the file of broker and store locked, for
// 30 s at full size. Publishes are refused meanwhile, and what was confirmed is
// handled, without anybody's hand.
func TestFileLocked(t *testing.T) {
	l := ledger{Test: "file locked", Broker: "embedded"}
	since := begin()
	p := newPlant(t, place{driver: "embedded", read: readByTail}, prepare(1_000_000))
	o := newOffers(p.start(t), p.in)
	o.publish(t, 50)
	locked, release := begin(), lock(t, p.file("waybill.db"))
	o.untilRefused(t, "another program has locked")
	o.run.await(func() bool { return o.run.notReady("refuses publishes", "another program has locked") }, "/ready says what to do")
	if full {
		pause(30*time.Second - begin().Sub(locked))
	}
	release()
	o.run.await(func() bool { return o.run.get("/ready") == "ready\n" }, "it is ready again")
	o.publish(t, 50)
	o.run.await(func() bool { return o.run.waiting() == 0 }, "all is done")
	o.run.stop()
	o.verdict(t, p, &l)
	enter(t, l, since)
}

// TestFileReplaced: somebody puts garbage in the place of the open file. It is
// noticed, and what /ready says leads to a pipeline that has lost nothing.
func TestFileReplaced(t *testing.T) {
	l := ledger{Test: "file replaced", Broker: "embedded"}
	since := begin()
	p := newPlant(t, place{driver: "embedded", read: readByTail}, prepare(1_000_000))
	file := p.file("waybill.db")
	o := newOffers(p.start(t), p.in)
	o.publish(t, 50)
	garbage := filepath.Join(p.dir, "garbage")
	require.NoError(t, os.WriteFile(garbage, []byte(strings.Repeat("garbage", 10_000)), 0o600))
	require.NoError(t, os.Rename(garbage, file))
	o.untilRefused(t, "stop waybill")
	o.run.await(func() bool { return o.run.notReady("refuses publishes", "replaced or removed", ".rescued-") }, "/ready says what to do")
	o.run.kill()

	// What it says.
	saved, err := filepath.Glob(file + ".rescued-*")
	require.NoError(t, err)
	require.Len(t, saved, 1)
	require.NoError(t, os.Remove(file))
	require.NoError(t, os.RemoveAll(file+"-wal"))
	require.NoError(t, os.Rename(saved[0], file))
	o.run = p.start(t)
	o.publish(t, 50)
	o.run.await(func() bool { return o.run.waiting() == 0 }, "all is done")
	o.run.stop()
	o.verdict(t, p, &l)
	enter(t, l, since)
}

// TestFileDamaged: a file whose bytes were overwritten, under a process or
// between two. No message is taken into it, and the error says which file it is
// and what to do; with the backup in its place all goes on.
func TestFileDamaged(t *testing.T) {
	for name, harm := range map[string]struct {
		running bool
		do      func(t *testing.T, path string)
	}{
		"GarbageWhileRunning": {true, func(t *testing.T, path string) { overwrite(t, path, []byte(strings.Repeat("garbage", 10_000))) }},
		"Garbage":             {false, func(t *testing.T, path string) { overwrite(t, path, []byte(strings.Repeat("garbage", 10_000))) }},
		"Truncated": {false, func(t *testing.T, path string) {
			info, err := os.Stat(path)
			require.NoError(t, err)
			require.NoError(t, os.Truncate(path, info.Size()/2))
		}},
		"FlippedBit": {false, func(t *testing.T, path string) {
			pages, err := os.ReadFile(path)
			require.NoError(t, err)
			pages[1<<14+3] ^= 0x40 // how many cells the second page has
			overwrite(t, path, pages)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPlant(t, place{driver: "embedded", read: readByTail}, prepare(1_000_000))
			file := p.file("waybill.db")
			o := newOffers(p.start(t), p.in)
			o.publish(t, 50)
			o.run.stop()
			backup, err := os.ReadFile(file)
			require.NoError(t, err)

			if harm.running {
				o.run = p.start(t)
				harm.do(t, file)
				o.untilRefused(t, "stop waybill, and restore "+file)
				o.run.await(func() bool { return o.run.notReady("refuses publishes", "stop waybill, and restore "+file) }, "/ready says what to do")
				o.run.kill()
			} else {
				harm.do(t, file)
			}
			o.run = p.launch(t)
			<-o.run.done
			require.Error(t, o.run.err, "it ran on a damaged file")
			require.Contains(t, o.run.tail(), "stop waybill, and restore "+file)
			o.refused++

			require.NoError(t, os.RemoveAll(file+"-wal"))
			require.NoError(t, os.RemoveAll(file+"-shm"))
			overwrite(t, file, backup)
			o.run = p.start(t)
			o.publish(t, 50)
			o.run.await(func() bool { return o.run.waiting() == 0 }, "all is done")
			o.run.stop()
			o.verdict(t, p, &ledger{})
		})
	}
}

// TestLogFile: trouble with the message log's file keeps no order from being
// handled.
func TestLogFile(t *testing.T) {
	p := newPlant(t, place{driver: "embedded", read: readByTail}, prepare(1_000_000))
	file := p.file("log.db")
	o := newOffers(p.start(t), p.in)
	o.publish(t, 10)
	release := lock(t, file)
	o.publish(t, 10)
	o.run.await(func() bool { return o.run.waiting() == 0 }, "all is done while the log is locked")
	release()
	o.run.stop()

	overwrite(t, file, []byte(strings.Repeat("garbage", 10_000)))
	o.run = p.start(t)
	require.Contains(t, o.run.tail(), "log.db.damaged-", "it says where the damaged one is")
	o.publish(t, 10)
	o.run.await(func() bool { return o.run.waiting() == 0 }, "all is done with a new log")
	o.run.stop()
	p.verdict(t, &ledger{}, o.confirmed)
}

// TestStoreLocked: a store in a file of its own that cannot be used is named by
// /ready before any message needs it, and orders that do not are handled.
func TestStoreLocked(t *testing.T) {
	p := newPlant(t, place{driver: "embedded", read: readByTail}, prepare(1_000_000))
	p.edit(t, "{driver: embedded}", "{driver: embedded, path: broker.db}")
	o := newOffers(p.start(t), p.in)
	o.next = 1 // the first order would be dead, and wait for the archive
	release := lock(t, p.file("waybill.db"))
	o.run.await(func() bool { return o.run.notReady("store unavailable", "another program has locked") }, "/ready says what to do")
	o.publish(t, 50)
	o.run.await(func() bool { return o.run.processed() >= 50 }, "orders are handled")
	release()
	o.run.await(func() bool { return o.run.get("/ready") == "ready\n" }, "it is ready again")
	o.run.stop()
	p.verdict(t, &ledger{}, o.confirmed)
}

// file is the path of a file in the data folder.
func (p *plant) file(name string) string { return filepath.Join(p.dir, p.data(), name) }

// overwrite writes over a file in place.
func overwrite(t *testing.T, path string, content []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(path, content, 0o600))
}
