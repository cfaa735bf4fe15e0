package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/engine"
	"github.com/waybill-dev/waybill/pipeline/journal"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/replay"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Options are what a program may put into Waybill.
type Options struct {
	// Kinds are the handler kinds that a config may name; usually
	// handlers.Builtin(), with your own added.
	Kinds pipeline.Kinds
	// Tracer makes a span of each message that is handled. Nil: none.
	Tracer trace.Tracer
	// Log receives everything. Nil: the command line makes one for stderr.
	Log *slog.Logger
}

// App is a Waybill process: brokers, engine, listeners.
type App struct {
	opts     Options
	pipeline pipeline.Pipeline
	log      *slog.Logger
	metrics  *prometheus.Registry
	brokers  map[string]broker.Broker
	store    store.Store
	probe    *storeProbe
	archiver *replay.Archiver
	journal  *journal.Journal
	messages *messagelog.Log // nil: message_log.mode is off
	engine   *engine.Engine
	replays  *replay.Runner
	seeds    []seed
	stops    []stop
}

// stop is one step of the teardown.
type stop struct {
	name string
	do   func(context.Context) error
}

// New puts an App together from a checked pipeline: the data folder is made,
// files and sockets are opened. Nothing runs and no broker was reached yet.
// After an error nothing is left open.
func New(p pipeline.Pipeline, opts Options) (*App, error) {
	a := &App{opts: opts, pipeline: p, log: slog.New(messagelog.Capture(opts.Log.Handler())), metrics: prometheus.NewRegistry()}
	if err := a.setup(); err != nil {
		return nil, errors.Join(err, a.teardown(context.Background()))
	}
	tidyUp()
	return a, nil
}

// tidyUp frees what the setup leaves behind: goose's parser has 16 MiB in a pool,
// which two collections empty. Else the heap would be let grow to a multiple of
// that, far beyond what messages need.
func tidyUp() {
	runtime.GC()
	runtime.GC()
}

// setup wires everything, in the order in which it depends on each other.
// What it opens it notes with onStop; Stop goes through the notes backwards:
// listeners first, so that nothing new comes in, then the engine's drain, then
// the archiver, which takes what died in it, then the store, and the brokers,
// whose publishers the draining handlers need.
func (a *App) setup() error {
	if err := makeData(a.pipeline); err != nil {
		return err
	}
	instance, err := instanceID(a.pipeline)
	if err != nil {
		return err
	}
	a.pipeline.Instance = instance
	a.registerMetrics()
	if a.brokers, err = openBrokers(a.pipeline, a.log); err != nil {
		return err
	}
	a.onStop("brokers", func(context.Context) error { return closeBrokers(a.brokers) })
	if a.store, err = openStore(a.pipeline, a.log); err != nil {
		return err
	}
	a.onStop("store", func(context.Context) error { return a.store.Close() })
	a.probe = newStoreProbe(a.store, a.brokers, a.log)
	a.onStop("store's probe", a.probe.stop)
	a.archiver = replay.NewArchiver(replay.ArchiverOptions{
		Pipeline: a.pipeline, Brokers: a.brokers, Store: a.store, Log: a.log, Metrics: a.metrics,
		AwaitBroker: func(ctx context.Context, name string) error { return a.engine.AwaitBroker(ctx, name) },
	})
	a.onStop("archiver", a.archiver.Stop)
	if a.journal, err = openJournal(a.pipeline, a.store, a.log); err != nil {
		return err
	}
	a.onStop("attempt journal", a.journal.Close)
	a.openMessageLog()
	a.engine, err = engine.New(engine.Options{
		Pipeline: a.pipeline, Kinds: a.opts.Kinds, Brokers: a.brokers, Store: a.store, Journal: a.journal, Messages: a.messages,
		Log: a.log, Metrics: a.metrics, Tracer: a.opts.Tracer,
	})
	if err != nil {
		return err
	}
	a.onStop("engine", a.engine.Stop)
	a.replays = newReplays(a.pipeline, a.store, a.brokers, a.engine.Requeued, a.log)
	a.onStop("replays", func(context.Context) error { a.replays.Stop(); return nil })
	return a.listen(dashboard.New(dashboard.Options{
		Version: Version(), Config: a.pipeline.Version, Metrics: a.metrics,
		Store:    a.store,
		Messages: a.messages,
		Replays:  a.replays,
		Topic:    a.topic,
		Broker:   func(name string) (broker.Broker, bool) { b, ok := a.brokers[name]; return b, ok },
		Problems: func() []string {
			return slices.Concat(a.engine.State().Problems(), a.archiver.Problems(), a.probe.problems())
		},
		Notes: a.notes,
		Inspect: func(ctx context.Context) ([]dashboard.Report, error) {
			return withWaits(inspect(ctx, a.pipeline, a.brokers), a.engine.State()), nil
		},
		Log: a.log,
	}))
}

// notes lists what a person may want to know of an app that is ready.
func (a *App) notes() []string {
	return slices.Concat(a.engine.State().Notes(), suspectNotes(a.journal), a.logNotes())
}

func (a *App) topic(name string) (pipeline.Topic, bool) {
	t, ok := a.pipeline.Topics[name]
	return t, ok
}

func (a *App) registerMetrics() {
	build := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "waybill_build_info", Help: "Always 1."}, []string{"version"})
	config := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "waybill_config_info", Help: "Always 1."}, []string{"hash"})
	build.WithLabelValues(Version()).Set(1)
	config.WithLabelValues(a.pipeline.Version).Set(1)
	a.metrics.MustRegister(build, config, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
}

// Start lets the pipeline run and returns at once; brokers that are away are
// waited for in the background.
func (a *App) Start() {
	a.engine.Start()
	a.archiver.Start()
	a.replays.Start()
	a.probe.start()
}

// Failed fires when the pipeline can never run as configured.
func (a *App) Failed() <-chan error { return a.engine.Failed() }

// Stop ends everything in reverse order, waiting for what is in hand until
// ctx is done. The error says what was cut short or could not be closed.
func (a *App) Stop(ctx context.Context) error { return a.teardown(ctx) }

// Run starts the app and stops it when ctx is done, within the config's
// shutdown_timeout; the end of hurry cuts that short.
func (a *App) Run(ctx, hurry context.Context) error {
	begin := time.Now()
	a.Start()
	sowing, enough := context.WithCancel(ctx)
	sown := make(chan error, 1)
	go func() { sown <- a.sow(sowing) }()
	failure := a.watch(ctx, sown)
	enough()

	timed, cancel := context.WithTimeoutCause(hurry, a.pipeline.ShutdownTimeout,
		fmt.Errorf("shutdown_timeout of %s has passed", a.pipeline.ShutdownTimeout))
	defer cancel()
	err := errors.Join(failure, a.Stop(timed))
	if err == nil {
		a.log.Info("stopped", "uptime", time.Since(begin).Round(time.Millisecond))
	}
	return err
}

// watch waits until there is a reason to stop; an error is a bad one.
func (a *App) watch(ctx context.Context, sown <-chan error) error {
	for {
		select {
		case <-ctx.Done():
			a.log.Info("stopping: no new messages are taken; what is in hand gets "+a.pipeline.ShutdownTimeout.String(),
				"in_flight", a.inFlight())
			return nil
		case err := <-a.Failed():
			return err
		case err := <-sown:
			if err != nil {
				return err
			}
			sown = nil
		}
	}
}

func (a *App) inFlight() int {
	n := 0
	for _, h := range a.engine.State().Handlers {
		n += h.InFlight
	}
	return n
}

func (a *App) onStop(name string, do func(context.Context) error) {
	a.stops = append(a.stops, stop{name, do})
}

func (a *App) teardown(ctx context.Context) error {
	var errs []error
	for _, s := range slices.Backward(a.stops) {
		if err := s.do(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", s.name, err))
		}
	}
	a.stops = nil
	return errors.Join(errs...)
}

// socketPath is where `run` serves the API for commands on the same machine.
func socketPath(p pipeline.Pipeline) string { return filepath.Join(p.Data, "waybill.sock") }
