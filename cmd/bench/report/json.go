package report

import (
	"encoding/json"
	"math"
	"os"
	"path/filepath"
)

// Result is one entry of results.json: medians.
type Result struct {
	Broker     string   `json:"broker"`
	Variant    string   `json:"variant"`
	Impl       string   `json:"impl"`
	Rate       float64  `json:"msgs_per_s"`
	ClientCPU  float64  `json:"client_cpu_ms_per_1000"`
	BrokerCPU  float64  `json:"broker_cpu_ms_per_1000"` // 0: the broker is in the client's process, or not on this machine
	RSS        float64  `json:"rss_mb"`
	P50        *float64 `json:"p50_ms"` // null: not measured, for example as it cannot take the load
	P99        *float64 `json:"p99_ms"`
	RatioToRaw float64  `json:"ratio_to_raw"` // of msgs_per_s, the median of the rounds' ratios
}

// Results makes entries of lines.
func Results(lines []Line) []Result {
	results := make([]Result, 0, len(lines))
	for _, l := range lines {
		r := Result{
			Broker: l.Broker, Variant: l.Variant, Impl: l.Impl,
			Rate: round(l.Rate.Median, 0), ClientCPU: round(l.ClientCPU.Median, 2), BrokerCPU: round(l.BrokerCPU.Median, 2),
			RSS: round(l.RSS.Median, 1), RatioToRaw: round(l.RateRatio.Median, 3),
		}
		if l.Latency {
			p50, p99 := round(l.P50.Median, 3), round(l.P99.Median, 3)
			r.P50, r.P99 = &p50, &p99
		}
		results = append(results, r)
	}
	return results
}

func round(v float64, digits int) float64 {
	scale := math.Pow10(digits)
	return math.Round(v*scale) / scale
}

// WriteJSON writes results.json.
func WriteJSON(file string, lines []Line) error {
	text, err := json.MarshalIndent(Results(lines), "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, append(text, '\n'), 0o600)
}
