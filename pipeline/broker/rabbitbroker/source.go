package rabbitbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

const (
	// mendPause is how long a queue that somebody must mend is left alone.
	mendPause = 15 * time.Second
	// settleWait is how long a lost channel's running messages are waited for
	// before the queue is read again, which hands them out once more.
	settleWait = 2 * time.Second
	// openPatience is how long the broker may take to answer a new consumer
	// before that is a matter for health.
	openPatience = 5 * time.Second
)

// source reads a subscription's queues.
type source struct {
	b      *Broker
	sub    broker.Subscription
	layout layout
}

// Run implements broker.Source.
func (s *source) Run(ctx context.Context, w *broker.Window) error {
	if _, err := planOf(s.layout, []broker.Subscription{s.sub}); err != nil {
		return err
	}
	var readers sync.WaitGroup
	defer readers.Wait()
	// intake lets go of whoever waits for the broker when the window drains.
	intake, stop := context.WithCancel(ctx)
	for _, queue := range s.layout.queues(s.sub) {
		readers.Go(func() { (&reader{source: s, queue: queue, window: w, intake: intake}).run(ctx) })
	}
	<-w.Draining()
	stop()
	return nil
}

// reader reads one queue, over as many channels as it takes.
type reader struct {
	*source
	queue  string
	window *broker.Window
	intake context.Context // ends when nothing more is to be taken
	old    sync.WaitGroup  // claims of lost channels whose messages still run
}

// draining reports whether nothing more is to be taken. It asks the window,
// of which intake learns a moment later.
func (r *reader) draining() bool {
	select {
	case <-r.window.Draining():
		return true
	default:
		return false
	}
}

// run reads until the window drains. ctx bounds what runs then.
func (r *reader) run(ctx context.Context) {
	defer r.old.Wait()
	defer r.b.trouble(r.queue, nil)
	pauses := newBackoff()
	for !r.draining() {
		c, err := r.open()
		pause := pauses.NextBackOff()
		if err == nil {
			r.b.trouble(r.queue, nil)
			r.b.log.Debug("reading the queue", "group", r.sub.Name, "queue", r.queue, "prefetch", r.prefetch())
			opened := time.Now()
			if err = c.consume(ctx); err == nil {
				return // drained
			}
			r.leave(ctx, c)
			if time.Since(opened) > steady {
				pauses.Reset()
			}
		} else if !mayPass(err) {
			pause = mendPause
		}
		if r.draining() {
			return
		}
		r.report(err)
		rest(r.intake, pause)
	}
}

// report tells once why the queue cannot be read, and keeps it in health.
func (r *reader) report(err error) {
	if r.b.trouble(r.queue, err) {
		r.b.log.Warn("cannot read the queue; trying again", "group", r.sub.Name, "queue", r.queue, "error", err)
	}
}

// leave ends the claim of a lost channel. Its messages are the broker's again,
// and are handed out once more; those that run are left to finish, so that
// what they do outside is not cut short. Mostly that takes no time, and then
// no message runs beside its own repetition.
func (r *reader) leave(ctx context.Context, c *consumer) {
	ended := make(chan struct{})
	r.old.Go(func() {
		defer close(ended)
		_ = c.claim.Close(ctx)
	})
	timer := time.NewTimer(settleWait)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C:
	case <-r.intake.Done():
	}
}

// open waits for the connection and opens a channel that reads the queue.
func (r *reader) open() (*consumer, error) {
	conn, err := r.b.consume.connection(r.intake)
	if err != nil {
		return nil, err
	}
	if err := r.prepare(r.intake); err != nil {
		return nil, err
	}
	var c *consumer
	err = r.b.consume.await(r.intake, func() (err error) {
		c, err = newConsumer(r, conn)
		return err
	}, func() { _ = c.ch.Close() })
	switch {
	case err == nil:
		c.claim = r.window.Claim(broker.ClaimOptions{MaxSpan: maxSpan})
		return c, nil
	case hasCode(err, amqp.NotFound) && !mayPass(err):
		return nil, fmt.Errorf("%w: create it, or set provision: create for topic %s", err, r.sub.Topic.Name)
	}
	return nil, err
}

// prepare makes the queue where that is our task, also when somebody has
// deleted it under us.
func (r *reader) prepare(ctx context.Context) error {
	if p := r.sub.Topic.Provision; p == pipeline.ProvisionVerify || p == pipeline.ProvisionOff {
		return nil
	}
	p, err := planOf(r.layout, []broker.Subscription{r.sub})
	if err != nil {
		return err
	}
	return r.b.create(ctx, p)
}

// prefetch is how many messages the broker hands out ahead.
func (s *source) prefetch() int { return min(max(s.sub.InFlight, 1), 65535) }

// errGone says that the broker ended the reading of a queue: it was deleted,
// or its leader moved.
var errGone = errors.New("the broker cancelled the consumer: the queue was deleted or has moved")
