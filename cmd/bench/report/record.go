package report

import (
	"slices"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/trial"
)

// Record is one run of one implementation.
type Record struct {
	Broker, Variant, Impl string
	Round                 int
	KB                    float64 // of an order, where that is what varies; else 0
	Drained               trial.Drained
	Latency               *job.Latencies // nil: not measured
}

// Spread is a median with what it stands between.
type Spread struct{ Median, Min, Max float64 }

func spread(values []float64) Spread {
	if len(values) == 0 {
		return Spread{}
	}
	v := slices.Sorted(slices.Values(values))
	mid := len(v) / 2
	median := v[mid]
	if len(v)%2 == 0 {
		median = (v[mid-1] + v[mid]) / 2
	}
	return Spread{median, v[0], v[len(v)-1]}
}

// Line is what is known of an implementation on a variant of a broker.
type Line struct {
	Broker, Variant, Impl string
	Runs                  int
	KB                    float64 // of an order, where that is what varies; else 0
	Rate                  Spread  // messages a second
	ClientCPU             Spread  // ms a thousand messages
	BrokerCPU             Spread  // the same; zero where there is no broker's process
	RSS                   Spread  // MB, at the peak
	RateRatio             Spread  // to raw; zero where there is none
	CPURatio              Spread  // client CPU to raw's
	Disorders             int     // outputs out of the order of their key, in all runs

	Latency  bool // whether the next are known
	P50      Spread
	P99      Spread
	P999     Spread
	P50Ratio Spread // to raw
}

// Summarise makes lines of records, in the order in which each first came.
func Summarise(records []Record) []Line {
	type cell [3]string
	var order []cell
	byCell := make(map[cell][]Record)
	for _, r := range records {
		c := cell{r.Broker, r.Variant, r.Impl}
		if byCell[c] == nil {
			order = append(order, c)
		}
		byCell[c] = append(byCell[c], r)
	}
	var lines []Line
	for _, c := range order {
		raws := make(map[int]Record)
		for _, r := range byCell[cell{c[0], c[1], job.Raw}] {
			raws[r.Round] = r
		}
		lines = append(lines, newLine(byCell[c], raws))
	}
	return lines
}

func newLine(runs []Record, raws map[int]Record) Line {
	all := func(f func(Record) float64) Spread {
		values := make([]float64, len(runs))
		for i, r := range runs {
			values[i] = f(r)
		}
		return spread(values)
	}
	l := Line{
		Broker: runs[0].Broker, Variant: runs[0].Variant, Impl: runs[0].Impl, Runs: len(runs), KB: runs[0].KB,
		Rate:      all(func(r Record) float64 { return r.Drained.Rate }),
		ClientCPU: all(func(r Record) float64 { return r.Drained.ClientCPU }),
		BrokerCPU: all(func(r Record) float64 { return r.Drained.BrokerCPU }),
		RSS:       all(func(r Record) float64 { return r.Drained.RSS }),
		RateRatio: ratio(runs, raws, func(r Record) float64 { return r.Drained.Rate }),
		CPURatio:  ratio(runs, raws, func(r Record) float64 { return r.Drained.ClientCPU }),
	}
	for _, r := range runs {
		l.Disorders += r.Drained.Verdict.Disorders
	}
	var timed []Record
	for _, r := range runs {
		if r.Latency != nil {
			timed = append(timed, r)
		}
	}
	if l.Latency = len(timed) > 0; !l.Latency {
		return l
	}
	runs = timed
	l.P50 = all(func(r Record) float64 { return r.Latency.P50 })
	l.P99 = all(func(r Record) float64 { return r.Latency.P99 })
	l.P999 = all(func(r Record) float64 { return r.Latency.P999 })
	l.P50Ratio = ratio(runs, raws, func(r Record) float64 {
		if r.Latency == nil {
			return 0
		}
		return r.Latency.P50
	})
	return l
}

// ratio compares each run with raw's of its round.
func ratio(runs []Record, raws map[int]Record, f func(Record) float64) Spread {
	var values []float64
	for _, r := range runs {
		if raw, ok := raws[r.Round]; ok && f(raw) > 0 {
			values = append(values, f(r)/f(raw))
		}
	}
	return spread(values)
}
