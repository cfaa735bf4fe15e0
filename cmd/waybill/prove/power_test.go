//go:build linux

package prove

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/cmd/waybill/prove/disktest"
)

// ordersPerCut is how many orders there are for each cut: more than are
// confirmed before it comes.
const ordersPerCut = 100

// TestPowerLoss: the power fails at random under the embedded broker and the
// store, while orders come in. What was confirmed is handled.
func TestPowerLoss(t *testing.T) {
	n := sizes()
	chance, seed := newChance()
	l := ledger{Test: "power loss", Broker: "embedded", Seed: seed}
	since := begin()
	p, disk := newPlantOnDisk(t)
	offered, payloads := makeOrders(n.cuts*ordersPerCut, n.cuts)
	source := newProducer(offered, payloads)
	for l.Cuts < n.cuts {
		run := p.start(t)
		stop := source.feed(run, p.in)
		source.await(t, run, 1+chance.IntN(ordersPerCut/2))
		pause(time.Duration(chance.IntN(10_000)) * time.Microsecond)
		run.kill()
		stop()
		require.Positivef(t, source.left(), "cut %d came after all was published: nothing would be proved", l.Cuts+1)
		disk.Cut(everyOther(l.Cuts, chance))
		l.Cuts++
	}
	run := p.start(t)
	stop := source.feed(run, p.in)
	run.await(func() bool { return source.left() == 0 }, "all is published")
	stop()
	run.await(func() bool { return run.waiting() == 0 }, "all is done")
	run.stop()
	p.verdict(t, &l, offered)
	l.Sent = int(source.again.Load())
	enter(t, l, since)
	require.Zero(t, l.Lost, "lost")
	require.Zero(t, l.Unexpected, "never offered")
	require.Equal(t, (len(offered)+broken-1)/broken, l.Dead)
	require.Zero(t, l.Disorders, "out of order within a key")
	require.LessOrEqual(t, l.Repeats, l.Sent, "more repeats than the producer sent")
}

// newPlantOnDisk is a plant on the embedded broker whose data folder is on a
// disk that can lose its power.
func newPlantOnDisk(t *testing.T) (*plant, *disktest.Disk) {
	t.Helper()
	p := newPlant(t, place{driver: "embedded", disk: "disk", read: readByTail}, prepare(1_000_000))
	mount := filepath.Join(p.dir, p.disk)
	require.NoError(t, os.Mkdir(mount, 0o700))
	return p, disktest.Mount(t, mount)
}

// everyOther cut keeps parts of what was not durable, beginning with the
// second.
func everyOther(cut int, chance *rand.Rand) *rand.Rand {
	if cut%2 == 0 {
		return nil
	}
	return chance
}
