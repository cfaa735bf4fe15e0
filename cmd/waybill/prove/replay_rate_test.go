package prove

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// TestReplayRate: all orders die of a rule that is missing. With the config
// mended all letters are replayed at full rate, which the ledger has.
func TestReplayRate(t *testing.T) {
	const mended, missing = `stages: {default: [pick, pack]}`, `stages: {rules: [{when: 'line.type == "none"', stages: [pick]}]}`
	for _, at := range places(t) {
		t.Run(at.driver, func(t *testing.T) {
			n := sizes().letters
			l := ledger{Test: "replay at full rate", Broker: at.driver}
			since := begin()
			p := newPlant(t, at, prepare(100_000))
			p.edit(t, mended, missing)
			offered, payloads := makeOrders(n, n/20)
			p.feed(t, p, payloads)
			run := p.start(t)
			run.await(func() bool { return run.letters(store.Dead) == n }, "all are dead letters")
			run.stop()

			p.edit(t, missing, mended)
			run = p.start(t)
			from := time.Now()
			_, code := p.command(t, nil, "dlq", "replay", "--config", p.config, "--all", "--yes", "--detach")
			require.Zero(t, code)
			run.await(func() bool { return run.replay().State == store.ReplayDone }, "the replay is done")
			l.Rate = float64(n) / time.Since(from).Seconds()
			run.stop()

			p.verdict(t, &l, offered)
			enter(t, l, since)
			require.Zero(t, l.Lost, "lost")
			require.Zero(t, l.Unexpected)
			require.Zero(t, l.Repeats)
			require.Zero(t, l.Disorders, "out of order within a key")
		})
	}
}
