package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/journal"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Options are what an engine is made of.
type Options struct {
	Pipeline pipeline.Pipeline
	Kinds    pipeline.Kinds
	Brokers  map[string]broker.Broker // by name; the engine does not close them
	Store    store.Store              // nil: none, and nothing that needs one; the engine does not close it
	Journal  *journal.Journal         // nil: what kills the process comes back for ever; the engine does not close it
	Messages *messagelog.Log          // the message log; nil: none; the engine does not close it
	Log      *slog.Logger
	Metrics  prometheus.Registerer
	Tracer   trace.Tracer // nil: no spans
}

// Engine is a pipeline at work.
type Engine struct {
	opts    Options
	log     *slog.Logger
	metrics *metrics
	router  *message.Router
	routes  []*route
	ready   map[string]*flag // by broker: it is provisioned

	life     context.Context // ends when starting is over or given up
	giveUp   context.CancelFunc
	starts   sync.WaitGroup // routes that are being started: over before a stop drains them
	tasks    sync.WaitGroup
	workers  *workers
	flights  *middleware.Flights
	receipts *receipts
	failed   chan error // a fault that no waiting mends; holds one

	starting atomic.Int64 // routes that do not consume yet
	waiting  waiting
}

// flag is raised once.
type flag struct {
	once sync.Once
	ch   chan struct{}
}

func (f *flag) raise() { f.once.Do(func() { close(f.ch) }) }

// New makes the handlers. An error names the handler and what its kind said;
// nothing runs then.
func New(opts Options) (*Engine, error) {
	router, err := message.NewRouter(message.RouterConfig{
		// The drain before has bounded the wait; what still runs then ignores
		// the end of its context.
		CloseTimeout: 2 * time.Second,
	}, routerLog{opts.Log})
	if err != nil {
		return nil, fmt.Errorf("make router: %w", err)
	}
	e := &Engine{
		opts: opts, log: opts.Log, router: router,
		ready:    make(map[string]*flag),
		failed:   make(chan error, 1),
		workers:  &workers{},
		receipts: &receipts{store: opts.Store, keep: opts.Pipeline.Store.Receipts, owner: opts.Pipeline.Instance, log: opts.Log},
	}
	e.flights = middleware.NewFlights(e.starter())
	e.life, e.giveUp = context.WithCancel(context.Background())
	e.metrics = newMetrics(e, opts.Metrics)
	for name := range opts.Brokers {
		e.ready[name] = &flag{ch: make(chan struct{})}
	}
	for _, h := range opts.Pipeline.Handlers {
		r, err := e.newRoute(h)
		if err != nil {
			e.close()
			return nil, fmt.Errorf("handler %s: %w", h.Name, err)
		}
		e.routes = append(e.routes, r)
	}
	return e, nil
}

// Start begins to run the pipeline and returns at once. Ready says when it
// runs; Failed fires if it never will.
func (e *Engine) Start() {
	e.receipts.start()
	e.tasks.Go(e.runRouter)
	for name := range e.opts.Brokers {
		e.tasks.Go(func() { e.provision(name) })
	}
	if e.opts.Store != nil {
		e.tasks.Go(e.expire)
		e.tasks.Go(e.count)
	}
	e.starting.Store(int64(len(e.routes)))
	for _, r := range e.routes {
		e.starts.Go(func() { e.startRoute(r) })
	}
}

// AwaitBroker waits until the broker of that name is provisioned.
func (e *Engine) AwaitBroker(ctx context.Context, name string) error {
	select {
	case <-e.ready[name].ch:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Failed fires when the pipeline cannot run for a cause that waiting does not
// mend: a broker that refuses the login, a topic that is not as the config
// says.
func (e *Engine) Failed() <-chan error { return e.failed }

func (e *Engine) fail(err error) {
	select {
	case e.failed <- err:
	default:
	}
}

func (e *Engine) runRouter() {
	// The end of its context tells the router that handlers end because they are
	// to, which is no error. It is too early for subscribers, which drain then:
	// routes are started with their own.
	if err := e.router.Run(e.life); err != nil {
		e.fail(fmt.Errorf("run router: %w", err))
	}
}

// provision makes the broker's topics and subscriptions, for as long as it
// takes to reach the broker.
func (e *Engine) provision(name string) {
	e.connect(name)
	topics, subs := broker.Holdings(e.opts.Pipeline, name)
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = 200*time.Millisecond, 5*time.Second
	for {
		err := e.opts.Brokers[name].Provision(e.life, topics, subs)
		if err == nil {
			e.ready[name].raise()
			return
		}
		if e.life.Err() != nil {
			return
		}
		err = fmt.Errorf("provision broker %s: %w", name, err)
		if r := pipeline.ReasonOf(err); pipeline.IsPermanent(err) || (r != pipeline.ReasonUnavailable && r != pipeline.ReasonTimeout) {
			e.fail(e.explain(err, name))
			return
		}
		pause := pauses.NextBackOff()
		e.log.Error("broker is not ready: "+err.Error(), "broker", name, "again_in", pause.Round(time.Millisecond))
		select {
		case <-time.After(pause):
		case <-e.life.Done():
			return
		}
	}
}

// connect has the publisher of a broker that outputs go to connect while topics
// are made: each message that found it away would wait on a goroutine of its own.
func (e *Engine) connect(name string) {
	for _, r := range e.routes {
		for _, topic := range r.handler.To {
			if e.opts.Pipeline.Topics[topic].Broker == name {
				_ = e.opts.Brokers[name].Publisher().Publish(topic) // nothing can fail
				return
			}
		}
	}
}

// explain adds to what is missing what the broker cannot know: that topics
// are moving away from it, and so are not made there.
func (e *Engine) explain(err error, name string) error {
	if !errors.Is(err, broker.ErrMissing) {
		return err
	}
	var moving []string
	for _, r := range e.routes {
		if r.left != nil && r.left.sub.Topic.Broker == name {
			moving = append(moving, r.left.sub.Name)
		}
	}
	if len(moving) == 0 {
		return err
	}
	return fmt.Errorf("%w (with draining: %s nothing is made there and all must be there already: %s; "+
		"name the broker that the topic was on, or remove draining)", err, name, strings.Join(moving, ", "))
}

// startRoute waits for the route's brokers, then lets it consume.
func (e *Engine) startRoute(r *route) {
	for _, name := range r.brokers {
		select {
		case <-e.ready[name].ch:
		case <-e.life.Done():
			return
		}
	}
	select {
	case <-e.router.Running():
	case <-e.life.Done():
		return
	}
	if err := r.begin(e.router); err != nil {
		e.fail(fmt.Errorf("start handler %s: %w", r.handler.Name, err))
		return
	}
	e.tasks.Go(func() { e.watch(r) })
	if e.starting.Add(-1) == 0 {
		e.log.Info("✓ ready: all handlers wait for messages", "handlers", len(e.routes))
	}
}

// watch notices a subscription that ends though nobody asked for it.
func (e *Engine) watch(r *route) {
	select {
	case err := <-r.subscriber.Ended():
		e.fail(fmt.Errorf("handler %s: its subscription %s has ended: %w", r.handler.Name, r.sub.Name, err))
	case <-e.life.Done():
	}
}

// Stop ends the pipeline: intake first, then what is in hand until ctx is
// done, then acknowledgements. The error says which handlers had to be cut
// short; what they had in hand stays with its broker.
func (e *Engine) Stop(ctx context.Context) error {
	e.giveUp()
	e.starts.Wait()
	errs := make([]error, len(e.routes))
	var draining sync.WaitGroup
	for i, r := range e.routes {
		draining.Go(func() { errs[i] = r.drain(ctx) })
	}
	draining.Wait()
	if err := e.router.Close(); err != nil {
		errs = append(errs, fmt.Errorf("close router: %w", err))
	}
	e.tasks.Wait()
	e.receipts.stop() // not before: what drains still has effects in hand
	e.workers.close()
	e.close()
	return errors.Join(errs...)
}

// close lets the kinds free what they hold, and forgets the metrics.
func (e *Engine) close() {
	e.giveUp()
	e.flights.Stop()
	for _, r := range e.routes {
		r.close()
	}
	e.metrics.unregister()
}
