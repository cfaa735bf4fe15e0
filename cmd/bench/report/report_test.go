package report

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/trial"
)

// records are two rounds, the second on a machine twice as slow.
func records() []Record {
	run := func(impl string, round int, rate, cpu float64, latency *job.Latencies) Record {
		return Record{
			Broker: job.Kafka, Variant: "4 partitions", Impl: impl, Round: round, Latency: latency,
			Drained: trial.Drained{Rate: rate, ClientCPU: cpu, BrokerCPU: 5, RSS: 30},
		}
	}
	return []Record{
		run(job.Raw, 0, 1000, 10, &job.Latencies{P50: 1, P99: 2, P999: 3}),
		run(job.Waybill, 0, 900, 15, &job.Latencies{P50: 1.2, P99: 2, P999: 3}),
		run(job.Stock, 0, 100, 90, nil),
		run(job.Raw, 1, 500, 20, &job.Latencies{P50: 2, P99: 4, P999: 6}),
		run(job.Waybill, 1, 500, 30, &job.Latencies{P50: 2.2, P99: 4, P999: 6}),
	}
}

func TestSummarise_RatiosAreOfARound(t *testing.T) {
	t.Parallel()
	lines := Summarise(records())
	require.Len(t, lines, 3)
	waybill := lines[1]
	require.Equal(t, job.Waybill, waybill.Impl)
	require.Equal(t, 2, waybill.Runs)
	require.Equal(t, Spread{700, 500, 900}, waybill.Rate)
	require.InDelta(t, 0.95, waybill.RateRatio.Median, 1e-9, "of 0.9 and 1.0, not 700 of 750")
	require.InDelta(t, 1.5, waybill.CPURatio.Median, 1e-9)
	require.InDelta(t, 1.15, waybill.P50Ratio.Median, 1e-9)
	require.Equal(t, Spread{1, 1, 1}, lines[0].RateRatio)
	require.False(t, lines[2].Latency)
	require.Equal(t, Spread{0.1, 0.1, 0.1}, lines[2].RateRatio)
}

func TestSpread_Median(t *testing.T) {
	t.Parallel()
	require.Equal(t, Spread{}, spread(nil))
	require.Equal(t, Spread{2, 1, 9}, spread([]float64{9, 1, 2}))
	require.Equal(t, Spread{2.5, 1, 9}, spread([]float64{9, 1, 2, 3}))
}

// TestWriteJSON_Schema: exactly the members that readers of results.json rely
// on, each of its type.
func TestWriteJSON_Schema(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "bench", "results.json")
	require.NoError(t, WriteJSON(file, Summarise(records())))
	text, err := os.ReadFile(file)
	require.NoError(t, err)
	var entries []map[string]any
	require.NoError(t, json.Unmarshal(text, &entries))
	require.Len(t, entries, 3)
	for _, e := range entries {
		require.Len(t, e, 10)
		for _, name := range []string{"broker", "variant", "impl"} {
			require.IsType(t, "", e[name], name)
		}
		for _, name := range []string{"msgs_per_s", "client_cpu_ms_per_1000", "broker_cpu_ms_per_1000", "rss_mb", "ratio_to_raw"} {
			require.IsType(t, 0.0, e[name], name)
		}
		for _, name := range []string{"p50_ms", "p99_ms"} {
			require.Contains(t, e, name)
			if e["impl"] == job.Stock {
				require.Nil(t, e[name], "not measured is null, never 0")
			} else {
				require.IsType(t, 0.0, e[name], name)
			}
		}
	}
	require.InDelta(t, 0.95, entries[1]["ratio_to_raw"], 1e-9)
}

func TestTargets(t *testing.T) {
	t.Parallel()
	targets := map[string]Target{}
	for _, target := range Targets(records()) {
		targets[target.Name] = target
	}
	rate := targets["kafka, 4 partitions: messages/s ÷ raw"]
	require.InDelta(t, 0.95, rate.Measured.Median, 1e-9)
	require.True(t, rate.Met)
	require.True(t, targets["kafka, 4 partitions: messages/s ÷ stock"].Met, "9 in the one round that both had")
	require.True(t, targets["kafka, 4 partitions: p50 at 1,000/s ÷ raw"].Met)
	slow := records()
	slow[1].Drained.Rate, slow[4].Drained.Rate = 500, 250
	require.False(t, Targets(slow)[14].Met)
	text := Markdown("About.", Summarise(slow), Targets(slow))
	require.Contains(t, text, "| kafka, 4 partitions: messages/s ÷ raw | ≥ 0.9 | 0.50 | **missed** |")
	require.Contains(t, text, "| embedded, file: messages/s ÷ raw | ≥ 0.6 | - | not measured |")
}

func TestFits(t *testing.T) {
	t.Parallel()
	var lines []Line
	for _, kb := range []float64{0.1, 1, 10, 100} {
		cost := 20 + 3*kb
		lines = append(lines, Line{
			Broker: job.Kafka, Impl: job.Raw, KB: kb,
			ClientCPU: Spread{Median: cost}, BrokerCPU: Spread{Median: 2 * cost}, Rate: Spread{Median: 1e6 / cost},
		})
	}
	var b bytes.Buffer
	Fits(&b, append(lines, Line{Broker: job.Kafka, Impl: job.Waybill}))
	require.Equal(t, "kafka, raw, for 1,000 messages of s KB: client CPU 20.0 + 3.00 s ms, broker CPU 40.0 + 6.00 s ms, time 20.0 + 3.00 s ms\n", b.String())
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	lines := Summarise(records())
	lines[2].Disorders = 7
	require.NoError(t, Table(&b, lines))
	require.Contains(t, b.String(), "700 (500-900)")
	require.Contains(t, b.String(), "0.95 (0.90-1.00)")
	require.Contains(t, b.String(), "7 out of order")
}

func TestSVG_IsWellFormed(t *testing.T) {
	t.Parallel()
	lines := Summarise(records())
	lines[1].Variant = "a<b & c"
	picture := SVG(lines)
	d := xml.NewDecoder(strings.NewReader(picture))
	for {
		_, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
	}
	require.Contains(t, picture, "0.95 waybill")
	require.Contains(t, picture, "prefers-color-scheme: dark")
	require.Equal(t, 2, strings.Count(picture, "<rect"), "raw is the line")
}
