package trial

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/place"
)

// Options say what is run.
type Options struct {
	Layout    place.Layout
	Orders    job.Orders
	N         int
	Instances int // client processes that share the work; 0: one
	Prepare   job.PrepareFunc
	Profile   string        // Waybill: where profiles go, see job.Spec; "": none
	Stall     time.Duration // how long an output may stand still before its end; 0: 30 s
	// Working is called once the clients' processes run, with their ids; nil:
	// nobody wants to know.
	Working func(pids []int)
}

// Drained is what a drain took. CPU is milliseconds a thousand messages.
type Drained struct {
	Rate      float64 // messages a second
	ClientCPU float64
	BrokerCPU float64
	RSS       float64       // MB, at the peak
	Took      time.Duration // that this was measured over
	Verdict   job.Verdict
}

// Pace of the look at the output, as in the peers' measurements.
const poll = 15 * time.Millisecond

// stall is the default of Options.Stall.
const stall = 30 * time.Second

// settle is how long a client gets, after its last output, for its last
// acknowledgements, before it is asked to stop: the published adapters drop
// what is in hand then.
const settle = 300 * time.Millisecond

// Drain runs one drain.
func Drain(ctx context.Context, b place.Broker, o Options) (d Drained, err error) {
	site, err := b.Open(ctx, o.Layout)
	if err != nil {
		return d, err
	}
	defer func() { err = errors.Join(err, site.Drop(context.WithoutCancel(ctx))) }()
	if err := site.Load(ctx, o.Orders, o.N); err != nil {
		return d, err
	}
	all, err := o.startAll(site.Spec())
	if err != nil {
		return d, err
	}
	defer all.end()
	if o.Working != nil {
		o.Working(all.pids())
	}
	m := meter{site: site, broker: b.PID(), clients: all, stall: cmp.Or(o.Stall, stall)}
	if d, err = m.measure(ctx, o.N); err != nil {
		return d, err
	}
	if err := pause(ctx, settle); err != nil {
		return d, err
	}
	if d.RSS, err = all.peak(); err != nil {
		return d, err
	}
	if err := all.stop(); err != nil {
		return d, err
	}
	d.Verdict, err = verify(ctx, site, o)
	return d, err
}

func (all clients) pids() []int {
	pids := make([]int, len(all))
	for i, c := range all {
		pids[i] = c.cmd.Process.Pid
	}
	return pids
}

// verify looks at what a drain has left.
func verify(ctx context.Context, site place.Site, o Options) (job.Verdict, error) {
	left, err := site.Left(ctx)
	if err != nil {
		return job.Verdict{}, err
	}
	depth, err := site.Depth(ctx)
	if err != nil {
		return job.Verdict{}, err
	}
	check := job.NewCheck(o.Orders, o.N, o.Prepare)
	if err := site.Outputs(ctx, depth, check.See); err != nil {
		return job.Verdict{}, err
	}
	v := check.Verdict()
	if err := v.Err(o.keepsOrder()); err != nil {
		return v, err
	}
	if left != 0 {
		return v, fmt.Errorf("all outputs are there, but %d orders are not acknowledged", left)
	}
	return v, nil
}

// keepsOrder reports whether the implementation promises the order of keys.
// On Kafka several clients share partitions; elsewhere, peers share a queue.
func (o Options) keepsOrder() bool {
	switch o.Layout.Impl {
	case job.StockTuned:
		return false
	case job.Waybill, job.WaybillLog:
		return o.Layout.Ordering == "key"
	}
	return o.Instances <= 1
}
