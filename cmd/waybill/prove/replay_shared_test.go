package prove

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// sharedLetters are few enough for a test of minutes that waits for leases.
const sharedLetters = 600

// TestReplayShared: of two instances on PostgreSQL and one queue the one that
// carries out a replay is killed. The other goes on with it, and ends it.
func TestReplayShared(t *testing.T) {
	random, seed := newChance()
	l := ledger{Test: "replay, taken over", Broker: "rabbitmq", Seed: seed, Offered: sharedLetters}
	since := begin()
	s := newSink(t)
	p := mourning(t, rabbit(t), s)
	p.keepIn(t, storetest.Schema(t))
	run := p.mourn(t)
	heir := p.twin(t)
	other := heir.start(t)
	s.mend()
	p.replayAll(t)
	point := int64(sharedLetters * (0.1 + 0.5*random.Float64()))
	run.await(func() bool { r := run.replay(); return r.Count > 0 && r.Count-r.Pending >= point }, "so many are sent")
	if heir.carries(t) {
		run, other = other, run
	}
	run.kill()
	l.Kills++
	killed, left := time.Now(), other.replay().Pending
	require.Positive(t, left, "the kill comes after all was sent: nothing would be proved")
	other.await(func() bool { return other.replay().Pending < left || time.Since(killed) > takeover }, "the other goes on, or it was too long")
	l.Recovery = append(l.Recovery, time.Since(killed).Seconds())
	require.Less(t, other.replay().Pending, left, "within %s of the kill", takeover)
	other.await(func() bool { return other.replay().State == store.ReplayDone }, "the replay is done")
	s.verdict(t, &l, other, sharedLetters)
	enter(t, l, since)
	other.stop()
}

// TestReplayStopped: an instance is stopped for longer than its leases, in the
// middle of a replay and of calls. When it goes on another has ended all of it,
// and what it says then is refused.
func TestReplayStopped(t *testing.T) {
	l := ledger{Test: "replay, late outcomes", Broker: "rabbitmq", Offered: sharedLetters}
	since := begin()
	s := newSink(t)
	p := mourning(t, rabbit(t), s)
	p.edit(t, "    retry:", "    timeout: 5m\n    retry:")
	p.edit(t, "{mode: http,", "{mode: http, timeout: 5m,")
	p.keepIn(t, storetest.Schema(t))
	one := p.mourn(t)
	s.mend()
	letGo := s.hold(t)
	p.replayAll(t)
	one.await(func() bool { return s.hung() >= 10 }, "it has calls in hand")
	require.Positive(t, one.replay().Pending, "all was sent: it has no replay in hand")
	require.NoError(t, one.cmd.Process.Signal(syscall.SIGSTOP))
	hung := s.release()
	two := p.twin(t).start(t)
	two.await(func() bool { return two.replay().State == store.ReplayDone }, "the other has ended the replay")
	require.NoError(t, one.cmd.Process.Signal(syscall.SIGCONT))
	letGo()
	one.await(func() bool { return one.ended("void")+one.ended("ok") >= hung && one.inHand() == 0 }, "the first is done with what it had")
	require.Zero(t, one.ended("ok"), "its late outcomes count for nothing")
	require.Equal(t, sharedLetters, one.ended("dead"), "it wrote letters once more")
	one.await(func() bool { return strings.Contains(p.log(t), "replay is somebody else's now") }, "it gives the replay up")
	s.verdict(t, &l, two, sharedLetters)
	enter(t, l, since)
	one.stop()
	two.stop()
}

// mourn starts the plant and returns when all letters are dead.
func (p *plant) mourn(t *testing.T) *process {
	t.Helper()
	_, payloads := makeOrders(sharedLetters, sharedLetters/20)
	p.feed(t, p, payloads)
	run := p.start(t)
	run.await(func() bool { return run.letters(store.Dead) == sharedLetters }, "all are dead letters")
	return run
}

// replayAll has all dead letters replayed within some seconds.
func (p *plant) replayAll(t *testing.T) {
	t.Helper()
	_, code := p.command(t, nil, "dlq", "replay", "--config", p.config, "--all", "--yes", "--detach", "--rate", fmt.Sprint(sharedLetters/4))
	require.Zero(t, code)
}

// log is that of all lives of the process.
func (p *plant) log(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "waybill.log"))
	require.NoError(t, err)
	return string(text)
}

// carries reports whether this instance has carried out a replay.
func (p *plant) carries(t *testing.T) bool {
	t.Helper()
	return strings.Contains(p.log(t), "replay goes on")
}
