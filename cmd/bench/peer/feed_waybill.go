package peer

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/waybill/app"
	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/broker/embedbroker"
	"github.com/waybill-dev/waybill/routerconfig"
)

// fedWaybill is what `waybill run` runs, with a producer and a reader of the
// output in the same process, as in a program that embeds Waybill.
func fedWaybill(ctx context.Context, spec job.Spec, _ job.PrepareFunc) error {
	loaded, err := routerconfig.Load(spec.Config, routerconfig.Options{Kinds: handlers.Builtin()})
	if err != nil {
		return err
	}
	log := slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
	a, err := app.New(loaded.Pipeline, app.Options{Kinds: handlers.Builtin(), Log: log})
	if err != nil {
		return err
	}
	running, end := context.WithCancel(ctx)
	var work errgroup.Group
	work.Go(func() error { return a.Run(running, context.Background()) })
	latencies, err := feedBroker(ctx, loaded.Pipeline, spec, log)
	end()
	if err := errors.Join(err, work.Wait()); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(latencies)
}

// feedBroker opens the broker's file a second time in this process, which
// gives the same one.
func feedBroker(ctx context.Context, p pipeline.Pipeline, spec job.Spec, log *slog.Logger) (l job.Latencies, err error) {
	b, err := embedbroker.Open(p.Brokers["main"], broker.Options{
		Topic: func(name string) (pipeline.Topic, bool) { t, ok := p.Topics[name]; return t, ok },
		Log:   log,
	})
	if err != nil {
		return l, err
	}
	defer func() { err = errors.Join(err, b.Close()) }()
	watch := job.NewStopwatch()
	watching, enough := context.WithCancel(ctx)
	var work errgroup.Group
	work.Go(func() error {
		err := b.Tail(watching, p.Topics[spec.Out], broker.TailOptions{Oldest: true, Follow: true}, func(msg *message.Message) error {
			watch.See(msg.Payload)
			return nil
		})
		if watching.Err() != nil {
			return nil
		}
		return err
	})
	err = sendPaced(ctx, b.Publisher(), spec.In, watch)
	enough()
	return watch.Latencies(), errors.Join(err, work.Wait())
}

// sendPaced publishes each order when it is due, with as many under way as it
// takes: publishing waits for the disk.
func sendPaced(ctx context.Context, pub message.Publisher, topic string, watch *job.Stopwatch) error {
	orders := job.Orders{Keys: feedKeys}
	publish := func(seq int, due time.Time) error {
		return pub.Publish(topic, message.NewMessageWithContext(ctx, job.ID(seq), orders.Order(seq, due)))
	}
	if err := publish(0, time.Now()); err != nil {
		return err
	}
	if err := within(ctx, watch.Started()); err != nil {
		return err
	}
	var sending errgroup.Group
	err := job.Pace(ctx, func(seq int, due time.Time) error {
		sending.Go(func() error { return publish(seq, due) })
		return nil
	})
	if err := errors.Join(err, sending.Wait()); err != nil {
		return err
	}
	return within(ctx, watch.Finished())
}

// fedTimeout is how long the first or the last output may take.
const fedTimeout = 30 * time.Second

func within(ctx context.Context, event <-chan struct{}) error {
	select {
	case <-event:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-time.After(fedTimeout):
		return fmt.Errorf("no output came within %s", fedTimeout)
	}
}
