package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/place"
	"github.com/waybill-dev/waybill/cmd/bench/report"
	"github.com/waybill-dev/waybill/cmd/bench/trial"
)

// bench is the whole program but for its clients. It returns the exit code.
func bench(ctx context.Context, args []string) int {
	o, err := parse(args, os.Stderr)
	switch {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		fmt.Fprintf(os.Stderr, "bench: %v\nTry: bench -help\n", err)
		return 2
	}
	b, err := newBencher(o)
	if err == nil {
		err = errors.Join(b.all(ctx), b.close())
	}
	if b != nil {
		err = errors.Join(err, b.report(err == nil))
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench: %v\n", err)
		return 1
	}
	return 0
}

// bencher runs the plan.
type bencher struct {
	options
	prepare job.PrepareFunc
	work    string // a folder of its own
	records []report.Record
}

func newBencher(o options) (*bencher, error) {
	var err error
	if o.waybill, err = filepath.Abs(o.waybill); err != nil {
		return nil, err
	}
	if o.profile != "" {
		if o.profile, err = filepath.Abs(o.profile); err != nil {
			return nil, err
		}
	}
	if _, err := os.Stat(o.waybill); err != nil {
		return nil, fmt.Errorf("find waybill: %w: run make build, or give -waybill", err)
	}
	b := &bencher{options: o}
	if b.prepare, err = job.NewPrepare(); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(o.dir, 0o750); err != nil {
		return nil, err
	}
	if b.work, err = os.MkdirTemp(o.dir, "bench-"); err != nil {
		return nil, err
	}
	b.work, err = filepath.Abs(b.work)
	return b, err
}

func (b *bencher) close() error { return os.RemoveAll(b.work) }

// all measures one broker after the other, leaving out those that have
// nothing of what is asked for. A run that goes wrong is reported at the end
// and counts for nothing; the others go on.
func (b *bencher) all(ctx context.Context) error {
	var errs []error
	none := true
	for _, name := range b.brokers {
		cells := b.cells(name)
		if len(cells) > 0 && ctx.Err() == nil {
			none = false
			errs = append(errs, b.one(ctx, name, cells))
		}
	}
	if none {
		errs = append(errs, errors.New("none of these brokers has such variants and implementations"))
	}
	return errors.Join(errs...)
}

func (b *bencher) one(ctx context.Context, name string, cells []cell) (err error) {
	url, err := b.url(name)
	if err != nil {
		return err
	}
	broker, err := place.Start(ctx, name, url, b.work, b.node)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, broker.Close()) }()
	for round := range b.rounds {
		for _, c := range b.inTurn(cells, round) {
			if ctx.Err() != nil {
				return errors.Join(err, errors.New("interrupted"))
			}
			failed := b.run(ctx, broker, c, round)
			if failed != nil && ctx.Err() == nil {
				failed = fmt.Errorf("%s, %s, %s, round %d: %w", c.broker, c.label, c.impl, round+1, failed)
				fmt.Fprintln(os.Stderr, failed)
				err = errors.Join(err, failed)
			}
		}
	}
	return err
}

// inTurn has every other round of a sweep backwards, so that a server that grows
// faster as it runs favours no step.
func (b *bencher) inTurn(cells []cell, round int) []cell {
	if b.sweep == "" || round%2 == 0 {
		return cells
	}
	back := slices.Clone(cells)
	slices.Reverse(back)
	return back
}

// url is where the broker is; "" where one is to be started.
func (b *bencher) url(broker string) (string, error) {
	if b.servers == "private" || broker == job.Embedded {
		return "", nil
	}
	name := map[string]string{job.RabbitMQ: "RABBITMQ_URL", job.Kafka: "KAFKA_BROKERS"}[broker]
	url := os.Getenv(name)
	if url == "" {
		return "", fmt.Errorf("-servers env: %s is not set: run make brokers and source .local/brokers.env", name)
	}
	return url, nil
}

// enough is how long a drain must last for its rate to mean something.
const enough = 500 * time.Millisecond

// run does one cell once.
func (b *bencher) run(ctx context.Context, broker place.Broker, c cell, round int) error {
	r := report.Record{Broker: c.broker, Variant: c.label, Impl: c.impl, Round: round}
	if c.sweep == sweepPayload {
		r.KB = float64(c.orders.Size) / 1000
	}
	begin := time.Now()
	err := b.inFolder(func(dir string) (err error) {
		r.Drained, err = trial.Drain(ctx, broker, b.trial(c, dir))
		return err
	})
	if err != nil {
		return err
	}
	if b.latency && c.sweep == "" && r.Drained.Rate > 1.25*job.Rate {
		if err := b.measureLatency(ctx, broker, c, &r); err != nil {
			return err
		}
	}
	b.records = append(b.records, r)
	d := r.Drained
	fmt.Fprintf(os.Stderr, "%s round %d/%d %-8s %-13s %-11s %7.0f msg/s, CPU ms/1000 client %6.1f broker %6.1f, %3.0f MB%s (%s)\n",
		begin.Format("15:04:05"), round+1, b.rounds, c.broker, c.label, c.impl, d.Rate, d.ClientCPU, d.BrokerCPU, d.RSS, latencyText(r.Latency),
		time.Since(begin).Round(100*time.Millisecond))
	if d.Took < enough {
		fmt.Fprintf(os.Stderr, "         that took %s only, which is no measure of a rate: take more orders (-n)\n", d.Took.Round(time.Millisecond))
	}
	return nil
}

// measureLatency leaves the record without a latency if the implementation
// does not hold the rate.
func (b *bencher) measureLatency(ctx context.Context, broker place.Broker, c cell, r *report.Record) error {
	return b.inFolder(func(dir string) error {
		l, err := trial.Latency(ctx, broker, b.trial(c, dir))
		if errors.Is(err, trial.ErrOverload) && ctx.Err() == nil {
			fmt.Fprintf(os.Stderr, "%s, %s, %s: %v\n", c.broker, c.label, c.impl, err)
			return nil
		}
		r.Latency = &l
		return err
	})
}

func latencyText(l *job.Latencies) string {
	if l == nil {
		return ""
	}
	return fmt.Sprintf(", p50 %.2f p99 %.1f ms", l.P50, l.P99)
}

func (b *bencher) trial(c cell, dir string) trial.Options {
	return trial.Options{
		Layout: c.layout(dir), Orders: c.orders, N: c.count(), Instances: c.instances, Prepare: b.prepare, Profile: c.profilePath(),
	}
}

// inFolder gives f an empty folder for a while.
func (b *bencher) inFolder(f func(dir string) error) error {
	dir, err := os.MkdirTemp(b.work, "run-")
	if err != nil {
		return err
	}
	return errors.Join(f(dir), os.RemoveAll(dir))
}

// report prints what there is, and writes it if nothing went wrong.
func (b *bencher) report(complete bool) error {
	if len(b.records) == 0 {
		return nil
	}
	lines := report.Summarise(b.records)
	err := report.Table(os.Stdout, lines)
	report.Fits(os.Stdout, lines)
	if err != nil || !complete || b.out == "" {
		return err
	}
	if err := report.WriteJSON(b.out, lines); err != nil {
		return fmt.Errorf("write the medians: %w", err)
	}
	dir := filepath.Dir(b.out)
	if err := report.WriteSVG(filepath.Join(dir, "ratios.svg"), lines); err != nil {
		return fmt.Errorf("draw the ratios: %w", err)
	}
	if err := report.WriteMarkdown(filepath.Join(dir, "table.md"), b.about(), lines, report.Targets(b.records)); err != nil {
		return fmt.Errorf("write the table: %w", err)
	}
	fmt.Fprintf(os.Stderr, "wrote %s, and table.md and ratios.svg beside it\n", b.out)
	return nil
}

// about says under what the figures came to be.
func (b *bencher) about() string {
	return fmt.Sprintf("%s, %s, %s/%s with %d cores for client and broker; %d rounds, %d keys, orders of %d bytes; Waybill: ordering %s, "+
		"%d handlers at a time, %d in flight (on Kafka: of each partition).", time.Now().Format("January 2006"), runtime.Version(), runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), b.rounds, b.orders.Keys, b.orders.Size, b.ordering, b.concurrency, b.inFlight)
}
