package trial

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/place"
)

// ErrOverload means that an implementation does not hold the rate.
var ErrOverload = errors.New("it does not hold the rate")

// Limits of a latency run.
const (
	startTimeout = 30 * time.Second // for the first message to come through
	lagTimeout   = 10 * time.Second // for the last one, after it was sent
)

// Latency feeds an implementation at job.Rate.
func Latency(ctx context.Context, b place.Broker, o Options) (l job.Latencies, err error) {
	site, err := b.Open(ctx, o.Layout)
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, site.Drop(context.WithoutCancel(ctx))) }()
	live, ok := site.(place.Live)
	if !ok {
		return o.inside(ctx, site.Spec())
	}
	all, err := o.startAll(site.Spec())
	if err != nil {
		return l, err
	}
	defer all.end()
	if l, err = feed(ctx, live, all, o.Orders); err != nil {
		return l, err
	}
	return l, all.stop()
}

// feed sends to the site and watches its output, from this process.
func feed(ctx context.Context, site place.Live, all clients, orders job.Orders) (job.Latencies, error) {
	watch := job.NewStopwatch()
	watching, enough := context.WithCancel(ctx)
	var work errgroup.Group
	work.Go(func() error { return site.Watch(watching, watch.See) })
	err := paced(ctx, site, all, orders, watch)
	enough()
	if err = errors.Join(err, work.Wait()); err != nil {
		return job.Latencies{}, err
	}
	return watch.Latencies(), nil
}

func paced(ctx context.Context, site place.Live, all clients, orders job.Orders, watch *job.Stopwatch) error {
	send := func(seq int, due time.Time) error {
		return site.Send(ctx, seq, orders.Key(seq), orders.Order(seq, due))
	}
	if err := send(0, time.Now()); err != nil {
		return err
	}
	if err := within(ctx, startTimeout, watch.Started()); err != nil {
		return errors.Join(fmt.Errorf("wait for the first message: %w", err), all.alive())
	}
	if err := job.Pace(ctx, send); err != nil {
		return err
	}
	if err := within(ctx, lagTimeout, watch.Finished()); err != nil {
		return errors.Join(ErrOverload, all.alive())
	}
	return nil
}

// within waits for an event.
func within(ctx context.Context, limit time.Duration, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(limit):
		return fmt.Errorf("nothing came within %s", limit)
	}
}

// inside has the client feed itself, where nobody else can: an embedded
// broker's file has one process. The client prints what it took.
func (o Options) inside(ctx context.Context, spec job.Spec) (l job.Latencies, err error) {
	spec.Feed = true
	cmd, err := peerCommand(spec)
	if err != nil {
		return l, err
	}
	var out, errs bytes.Buffer
	cmd.Dir, cmd.Stdout, cmd.Stderr = o.Layout.Dir, &out, &errs
	c := &client{cmd: cmd, done: make(chan struct{})}
	if err := c.launch(); err != nil {
		return l, err
	}
	select {
	case <-c.done:
	case <-ctx.Done():
		_ = cmd.Process.Kill()
		<-c.done
		return l, context.Cause(ctx)
	}
	if c.err != nil {
		return l, fmt.Errorf("the client: %w: %s", c.err, errs.Bytes())
	}
	return l, json.Unmarshal(out.Bytes(), &l)
}
