package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/place"
	"github.com/waybill-dev/waybill/cmd/bench/trial"
)

// waybillBinary builds the product once. TestMain removes it.
var waybillBinary = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "waybill-bench-")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "waybill")
	out, err := exec.Command("go", "build", "-o", bin, "../waybill").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build waybill: %w\n%s", err, out)
	}
	return bin, nil
})

func testOptions(t *testing.T, args ...string) options {
	t.Helper()
	bin, err := waybillBinary()
	require.NoError(t, err)
	dir := t.TempDir()
	args = append(args, "-waybill", bin, "-dir", dir, "-servers", "env", "-latency=false", "-rounds", "1",
		"-out", filepath.Join(dir, "results", "results.json"))
	o, err := parse(args, os.Stderr)
	require.NoError(t, err)
	return o
}

// TestBench: a small run of everything on each broker is complete, and what it
// writes can be read.
func TestBench(t *testing.T) {
	t.Parallel()
	for broker, c := range map[string]struct {
		args []string
		env  string
		want int
	}{
		// Enough for a few looks at the output, with the race detector in the peers.
		job.Embedded: {[]string{"-n", "3000"}, "", 3},
		// And for CPU time to show, which comes in ticks of 10 ms.
		job.RabbitMQ: {[]string{"-n", "3000", "-variant", "quorum"}, "RABBITMQ_URL", 5},
		job.Kafka:    {[]string{"-n", "2000", "-variant", "4 partitions"}, "KAFKA_BROKERS", 5},
	} {
		t.Run(broker, func(t *testing.T) {
			t.Parallel()
			if c.env != "" {
				needServer(t, c.env)
			}
			o := testOptions(t, append(c.args, "-broker", broker)...)
			b, err := newBencher(o)
			require.NoError(t, err)
			require.NoError(t, b.all(t.Context()))
			require.Len(t, b.records, c.want)
			for _, r := range b.records {
				require.Positive(t, r.Drained.Rate, r.Impl)
				require.Positive(t, r.Drained.ClientCPU, r.Impl)
				require.Positive(t, r.Drained.RSS, r.Impl)
				require.Equal(t, broker != job.Embedded, r.Drained.BrokerCPU > 0, r.Impl)
			}
			require.NoError(t, b.report(true))
			require.NoError(t, b.close())
			left, err := os.ReadDir(o.dir)
			require.NoError(t, err)
			require.Len(t, left, 1, "nothing but the results")
			require.FileExists(t, o.out)
			require.FileExists(t, filepath.Join(filepath.Dir(o.out), "ratios.svg"))
			require.FileExists(t, filepath.Join(filepath.Dir(o.out), "table.md"))
		})
	}
}

func needServer(t *testing.T, name string) {
	t.Helper()
	if testing.Short() {
		t.Skip("needs a server")
	}
	require.NotEmptyf(t, os.Getenv(name), "%s is not set: run `make brokers`, or use -short", name)
}

// TestDrain_FindsBrokenImplementations: the benchmark does not take a figure
// from one that loses, repeats, changes or reorders.
func TestDrain_FindsBrokenImplementations(t *testing.T) {
	t.Parallel()
	prepare, err := job.NewPrepare()
	require.NoError(t, err)
	for impl, says := range map[string]string{
		losesOne:     "the output stands still at 499, 500 are wanted",
		replacesOne:  "1 missing, 1 repeated",
		swapsTwo:     "1 out of order",
		changesBytes: "1 different",
		keepsOne:     "1 orders are not acknowledged",
		dies:         "out of luck",
	} {
		t.Run(impl, func(t *testing.T) {
			t.Parallel()
			broker, err := place.Start(t.Context(), job.Embedded, "", "", "")
			require.NoError(t, err)
			_, err = trial.Drain(t.Context(), broker, trial.Options{
				Layout: place.Layout{Impl: impl, InFlight: 64, Dir: t.TempDir()},
				Orders: testOrders, N: 500, Prepare: prepare, Stall: 3 * time.Second,
			})
			require.ErrorContains(t, err, says)
		})
	}
}

// TestDrain_Interrupted: it ends at once and nothing of it goes on.
func TestDrain_Interrupted(t *testing.T) {
	t.Parallel()
	prepare, err := job.NewPrepare()
	require.NoError(t, err)
	broker, err := place.Start(t.Context(), job.Embedded, "", "", "")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var pids []int
	_, err = trial.Drain(ctx, broker, trial.Options{
		Layout: place.Layout{Impl: losesOne, InFlight: 64, Dir: t.TempDir()},
		Orders: testOrders, N: 500, Prepare: prepare,
		Working: func(p []int) { pids = p; cancel() },
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Len(t, pids, 1)
	require.NoDirExists(t, fmt.Sprintf("/proc/%d", pids[0]))
}

func TestParse(t *testing.T) {
	t.Parallel()
	o, err := parse(nil, os.Stderr)
	require.NoError(t, err)
	require.Equal(t, 5, o.rounds)
	require.Equal(t, 10_000, o.orders.Keys)
	require.Equal(t, "docs/bench/results.json", o.out)
	o, err = parse([]string{"-sweep", "keys"}, os.Stderr)
	require.NoError(t, err)
	require.Empty(t, o.out, "a sweep is no run of the results")
	o, err = parse([]string{"-sweep", "keys", "-out", "mine.json"}, os.Stderr)
	require.NoError(t, err)
	require.Equal(t, "mine.json", o.out)
	for _, args := range []string{
		"-broker nats", "-impl best", "-rounds 0", "-n 5", "-ordering some", "-servers mine", "-sweep moon", "-keys 0", "more",
	} {
		_, err := parse(strings.Fields(args), new(strings.Builder))
		require.Error(t, err, args)
	}
}

// TestBench_NothingToDo: what has no cells, or no server, is an error and not
// an empty table.
func TestBench_NothingToDo(t *testing.T) {
	t.Parallel()
	for says, args := range map[string][]string{
		"none of these brokers": {"-broker", job.Embedded, "-impl", job.Stock},
		"KAFKA_BROKERS is not":  {"-broker", job.Kafka},
	} {
		if os.Getenv("KAFKA_BROKERS") != "" && args[1] == job.Kafka {
			continue
		}
		b, err := newBencher(testOptions(t, args...))
		require.NoError(t, err)
		require.ErrorContains(t, b.all(t.Context()), says)
		require.NoError(t, b.close())
	}
}

// TestCells: everything once, raw first in each variant, as ratios need it.
func TestCells(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-n", "4000"}, os.Stderr)
	require.NoError(t, err)
	cells := o.cells(job.Kafka)
	require.Len(t, cells, 15)
	for i, c := range cells {
		if i%5 == 0 {
			require.Equal(t, job.Raw, c.impl)
		}
		require.Equal(t, map[bool]int{true: 400, false: 4000}[strings.HasPrefix(c.impl, job.Stock)], c.count())
	}
	b := bencher{options: o}
	require.Equal(t, b.inTurn(cells, 0), b.inTurn(cells, 1), "always raw first")
	b.sweep = "ordering"
	require.NotEqual(t, cells[0], b.inTurn(cells, 1)[0], "no step always finds the server as another has left it")
	require.Equal(t, cells, b.inTurn(b.inTurn(cells, 1), 3))
	for name := range sweeps {
		o.sweep, o.impls = name, list{job.Raw, job.Waybill}
		labels := map[string]int{}
		for _, c := range o.cells(job.RabbitMQ) {
			labels[c.label]++
		}
		require.Greater(t, len(labels), 1, name)
		for label, n := range labels {
			require.Equal(t, 2, n, label)
			require.Contains(t, label, "quorum")
		}
	}
}

// TestCells_Sweep: steps have names of their own, and sizes that fit.
func TestCells_Sweep(t *testing.T) {
	t.Parallel()
	o, err := parse([]string{"-sweep", "partitions", "-impl", "raw"}, os.Stderr)
	require.NoError(t, err)
	var labels []string
	for _, c := range o.cells(job.Kafka) {
		labels = append(labels, c.label)
	}
	require.Equal(t, []string{"1 partitions", "2 partitions", "4 partitions", "8 partitions", "16 partitions"}, labels)
	require.Empty(t, o.cells(job.Embedded))
	o.sweep = "payload"
	for _, c := range o.cells(job.Embedded) {
		require.LessOrEqual(t, c.count()*c.orders.Size, mostBytes)
		require.GreaterOrEqual(t, c.count(), least)
	}
}
