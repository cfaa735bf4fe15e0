package report

import (
	"cmp"
	"fmt"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// Target is one line of what Waybill owes.
type Target struct {
	Name     string
	Want     string
	Measured Spread // zero: this run does not say
	Met      bool
}

// goal is a target before it is measured.
type goal struct {
	broker, variant string
	name            string
	impl            string // Waybill's; "": job.Waybill
	against         string // the implementation that it is compared with
	of              func(Record) float64
	least, most     float64 // one of the two is set
	minus           bool    // the difference counts, not the ratio
}

// goals are those of docs/performance.md.
func goals() []goal {
	rate := func(r Record) float64 { return r.Drained.Rate }
	cpu := func(r Record) float64 { return r.Drained.ClientCPU }
	rss := func(r Record) float64 { return r.Drained.RSS }
	p50 := func(r Record) float64 {
		if r.Latency == nil {
			return 0
		}
		return r.Latency.P50
	}
	var all []goal
	for _, at := range []struct {
		broker, variant    string
		rate, stock, tuned float64
	}{
		{job.RabbitMQ, "classic", 0.9, 12, 1.4},
		{job.RabbitMQ, "quorum", 0.9, 12, 1.4},
		{job.Kafka, "4 partitions", 0.9, 5, 1.4},
		{job.Embedded, "file", 0.6, 0, 0},
	} {
		g := func(name, against string, of func(Record) float64, least, most float64) {
			all = append(all, goal{broker: at.broker, variant: at.variant, name: name, against: against, of: of, least: least, most: most})
		}
		g("messages/s ÷ raw", job.Raw, rate, at.rate, 0)
		if at.stock > 0 {
			g("client CPU ÷ raw", job.Raw, cpu, 0, 1.6)
			g("messages/s ÷ stock", job.Stock, rate, at.stock, 0)
			g("messages/s ÷ stock-tuned", job.StockTuned, rate, at.tuned, 0)
		}
		g("p50 at 1,000/s ÷ raw", job.Raw, p50, 0, 1.3)
		g("peak memory less raw's, MB", job.Raw, rss, 0, 64)
		all[len(all)-1].minus = true
		if at.broker == job.RabbitMQ {
			g("messages/s with the message log ÷ without", job.Waybill, rate, 0.75, 0)
			all[len(all)-1].impl = job.WaybillLog
		}
	}
	return all
}

// Targets says which targets these records meet.
func Targets(records []Record) []Target {
	var targets []Target
	for _, g := range goals() {
		t := Target{Name: fmt.Sprintf("%s, %s: %s", g.broker, g.variant, g.name), Measured: g.measure(records)}
		if g.least > 0 {
			t.Want, t.Met = fmt.Sprintf("≥ %g", g.least), t.Measured.Median >= g.least
		} else {
			t.Want, t.Met = fmt.Sprintf("≤ %g", g.most), t.Measured.Median <= g.most
		}
		targets = append(targets, t)
	}
	return targets
}

// measure compares Waybill with another, round by round.
func (g goal) measure(records []Record) Spread {
	impl := cmp.Or(g.impl, job.Waybill)
	others := make(map[int]Record)
	for _, r := range records {
		if r.Broker == g.broker && r.Variant == g.variant && r.Impl == g.against {
			others[r.Round] = r
		}
	}
	var values []float64
	for _, r := range records {
		other, ok := others[r.Round]
		switch {
		case !ok || r.Broker != g.broker || r.Variant != g.variant || r.Impl != impl:
		case g.of(r) == 0 || g.of(other) == 0: // not measured
		case g.minus:
			values = append(values, g.of(r)-g.of(other))
		default:
			values = append(values, g.of(r)/g.of(other))
		}
	}
	return spread(values)
}
