//go:build linux

package prove

import (
	"strings"
	"testing"
)

// TestDiskFull: the disk of the embedded broker and the store fills up, and
// has room again. Publishes are refused meanwhile, and what was confirmed is
// handled, without anybody's hand.
func TestDiskFull(t *testing.T) {
	l := ledger{Test: "disk full", Broker: "embedded"}
	since := begin()
	p, disk := newPlantOnDisk(t)
	o := newOffers(p.start(t), p.in)
	o.publish(t, 50)
	disk.Fill(true)
	o.untilRefused(t, "free some space")
	o.run.await(func() bool { return o.run.notReady("refuses publishes", "free some space") }, "/ready says what to do")
	disk.Fill(false)
	o.run.await(func() bool { return strings.HasPrefix(o.run.get("/ready"), "ready\n") }, "it is ready again") // with a note on what the log missed, maybe
	o.publish(t, 50)
	o.run.await(func() bool { return o.run.waiting() == 0 }, "all is done")
	o.run.stop()
	o.verdict(t, p, &l)
	enter(t, l, since)
}

// TestDiskFull_Start: a process that was killed on a full disk starts on it,
// says what is wrong, and goes on once there is room.
func TestDiskFull_Start(t *testing.T) {
	l := ledger{Test: "start on a full disk", Broker: "embedded", Kills: 1}
	since := begin()
	p, disk := newPlantOnDisk(t)
	o := newOffers(p.start(t), p.in)
	o.publish(t, 50)
	disk.Fill(true)
	o.run.kill()
	o.run = p.launch(t)
	o.run.await(func() bool { return o.run.get("/ping") == "pong\n" }, "it runs")
	o.untilRefused(t, "free some space")
	o.run.await(func() bool { return o.run.notReady("refuses publishes", "free some space") }, "/ready says what to do")
	disk.Fill(false)
	o.run.await(func() bool { return strings.HasPrefix(o.run.get("/ready"), "ready\n") }, "it is ready again") // with a note on what the log missed, maybe
	o.publish(t, 50)
	o.run.await(func() bool { return o.run.waiting() == 0 }, "all is done")
	o.run.stop()
	o.verdict(t, p, &l)
	enter(t, l, since)
}
