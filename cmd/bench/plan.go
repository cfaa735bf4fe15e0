package main

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/place"
)

// cell is one implementation on one variant of one broker, with the settings
// of one step of a sweep.
type cell struct {
	options
	broker, variant, impl string
	label                 string // of the variant in the report
}

// Orders of a drain.
const (
	least       = 200
	manyRabbit  = 40_000
	manyOthers  = 100_000
	slowDivisor = 10        // what one message at a time gets
	sweepPart   = 2         // what a step of a sweep gets
	mostBytes   = 256 << 20 // of a drain's orders, unless asked for
)

// count is how many orders the cell drains. All implementations but the slow
// ones get the same.
func (c cell) count() int {
	n := c.n
	if n == 0 {
		n = manyOthers
		if c.broker == job.RabbitMQ {
			n = manyRabbit
		}
		if c.sweep != "" {
			n /= sweepPart
		}
		n = max(least, min(n, mostBytes/c.orders.Size))
	}
	if c.impl == job.Stock || c.impl == job.StockTuned && c.broker == job.Kafka {
		n = max(least, n/slowDivisor)
	}
	return n
}

// layout is the site that the cell needs, with files in dir.
func (c cell) layout(dir string) place.Layout {
	return place.Layout{
		Impl: c.impl, Variant: c.variant, InFlight: c.inFlight, Concurrency: c.concurrency,
		Ordering: c.ordering, Partitions: c.partitions, Envelope: c.envelope, Dir: dir, Waybill: c.waybill,
	}
}

// profilePath is how the files of the cell's profiles begin; "" where nothing
// is profiled.
func (c cell) profilePath() string {
	if c.profile == "" {
		return ""
	}
	return filepath.Join(c.profile, strings.NewReplacer(" ", "-", ",", "").Replace(c.broker+"-"+c.label))
}

// cells are one round on a broker: everything in turn.
func (o options) cells(broker string) []cell {
	var all []cell
	for _, step := range o.steps() {
		if broker == job.Embedded && (step.instances > 1 || step.partitions > 0 || o.sweep == "envelope") {
			continue // it has one process, no partitions, and rows instead of headers
		}
		for _, variant := range o.variantsOf(broker) {
			for _, impl := range place.Impls[broker] {
				if len(o.impls) > 0 && !slices.Contains(o.impls, impl) {
					continue
				}
				all = append(all, cell{step.options, broker, variant, impl, step.name(broker, variant)})
			}
		}
	}
	return all
}

// swept is the variant on which a sweep runs, unless told otherwise.
var swept = map[string]string{job.RabbitMQ: "quorum", job.Kafka: "4 partitions", job.Embedded: "file"}

func (o options) variantsOf(broker string) []string {
	switch {
	case len(o.variants) > 0:
		return slices.DeleteFunc(slices.Clone(place.Variants[broker]), func(v string) bool { return !slices.Contains(o.variants, v) })
	case o.sweep != "":
		return []string{swept[broker]}
	}
	return place.Variants[broker]
}

// name is what the step on a variant is called in reports.
func (s step) name(broker, variant string) string {
	if broker == job.Kafka && s.partitions > 0 {
		variant = fmt.Sprintf("%d partitions", s.partitions)
	}
	if s.label == "" || s.label == variant {
		return variant
	}
	return variant + ", " + s.label
}

// step is one value of a sweep.
type step struct {
	options
	label string
}

// sweepPayload is the sweep through which reports lay a line.
const sweepPayload = "payload"

// sweeps are what can be varied, each with the values that the documents show.
var sweeps = map[string]func(options) []step{
	sweepPayload: func(o options) []step {
		return vary(o, "payload %d B", []int{100, 1_000, 10_000, 100_000}, func(o *options, n int) { o.orders.Size = n })
	},
	"keys": func(o options) []step {
		return vary(o, "%d keys", []int{1, 100, 10_000, 1_000_000}, func(o *options, n int) { o.orders.Keys = n })
	},
	"inflight": func(o options) []step {
		return vary(o, "%d in flight", []int{16, 64, 256, 512, 1024, 4096}, func(o *options, n int) { o.inFlight, o.concurrency = n, min(n, o.concurrency) })
	},
	"partitions": func(o options) []step {
		return vary(o, "%d partitions", []int{1, 2, 4, 8, 16}, func(o *options, n int) { o.partitions = n })
	},
	"instances": func(o options) []step {
		return vary(o, "%d instances", []int{1, 2, 4}, func(o *options, n int) { o.instances, o.partitions = n, max(o.partitions, 4) })
	},
	"envelope": func(o options) []step {
		with := o
		with.envelope = true
		return []step{{o, "raw sends an id"}, {with, "raw sends what Waybill sends"}}
	},
	"ordering": func(o options) []step {
		keyed, none := o, o
		keyed.ordering, none.ordering = "key", "none"
		return []step{{keyed, "order of keys"}, {none, "no order"}}
	},
}

func vary(o options, label string, values []int, set func(*options, int)) []step {
	var steps []step
	for _, v := range values {
		s := step{o, fmt.Sprintf(label, v)}
		set(&s.options, v)
		steps = append(steps, s)
	}
	return steps
}

func sweepNames() []string { return slices.Sorted(maps.Keys(sweeps)) }

func (o options) steps() []step {
	if o.sweep == "" {
		return []step{{options: o}}
	}
	return sweeps[o.sweep](o)
}
