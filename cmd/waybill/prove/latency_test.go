package prove

import (
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestSlowHandler: a handler of 50 ms, 256 at a time, on one partition or one
// queue. One at a time it would do 20 a second.
func TestSlowHandler(t *testing.T) {
	for _, at := range places(t) {
		for _, ordering := range []string{"none", "key"} {
			t.Run(at.driver+"/"+ordering, func(t *testing.T) {
				n := sizes()
				l := ledger{Test: "50 ms handler, ordering " + ordering, Broker: at.driver}
				since := begin()
				p := newPlant(t, at, pipe{
					kind: "map", with: `{delay: 50ms}`,
					ordering: ordering, concurrency: 256, partitions: 1, perSecond: 1_000_000,
				})
				offered, payloads := makeOrders(n.delayed, 1000)
				p.feed(t, p, payloads)
				run := p.start(t)
				l.Rate = run.rate(float64(n.delayed))
				run.await(func() bool { return run.waiting() == 0 }, "all is done")
				l.PeakMB = run.peak()
				run.stop()
				check(&l, offered, records(t, p.read(t, p, p.out)), nil)
				enter(t, l, since)
				require.Zero(t, l.Lost)
				require.Zero(t, l.Repeats)
				t.Run("2-27 512 MB are enough", func(t *testing.T) {
					require.Less(t, l.PeakMB, 512.0)
				})
				if ordering == "key" {
					require.Zero(t, l.Disorders)
				}
				if full {
					require.GreaterOrEqual(t, l.Rate, 4000.0, "messages a second")
				}
			})
		}
	}
}

// peak is the largest resident set of the process so far, in MB.
func (run *process) peak() float64 {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", run.cmd.Process.Pid))
	require.NoError(run.t, err)
	_, after, ok := strings.Cut(string(text), "VmHWM:")
	require.True(run.t, ok, "no VmHWM")
	var kb float64
	_, err = fmt.Sscan(after, &kb)
	require.NoError(run.t, err)
	return kb / 1024
}

// rate is how many a second are done, over the middle nine tenths of n.
func (run *process) rate(n float64) float64 {
	run.await(func() bool { return run.processed() >= n/20 }, "it is at work")
	from, began := run.processed(), time.Now()
	run.await(func() bool { return run.processed() >= n*19/20 }, "nearly all is done")
	return (run.processed() - from) / time.Since(began).Seconds()
}
