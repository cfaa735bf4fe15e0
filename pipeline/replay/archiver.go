package replay

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// ArchiverOptions are what an archiver is made of.
type ArchiverOptions struct {
	Pipeline pipeline.Pipeline
	Brokers  map[string]broker.Broker // by name; the archiver does not close them
	Store    store.Store              // the archiver does not close it
	// AwaitBroker waits until the broker of that name is provisioned.
	AwaitBroker func(ctx context.Context, name string) error
	Log         *slog.Logger
	Metrics     prometheus.Registerer
}

// Archiver takes what dies into the store. See the package comment.
type Archiver struct {
	opts    ArchiverOptions
	readers []*reader
	metrics *metrics

	life   context.Context // ends when nothing is waited for any more
	giveUp context.CancelFunc
	tries  context.Context // ends when what the store is asked for is cut short
	cut    context.CancelFunc
	tasks  sync.WaitGroup
}

// NewArchiver returns an archiver that does not run yet.
func NewArchiver(opts ArchiverOptions) *Archiver {
	a := &Archiver{opts: opts, metrics: newMetrics(opts.Store, opts.Metrics)}
	a.life, a.giveUp = context.WithCancel(context.Background())
	a.tries, a.cut = context.WithCancel(context.Background())
	for _, topic := range opts.Pipeline.Topics {
		if topic.DeadLetter {
			a.readers = append(a.readers, newReader(a, topic))
		}
	}
	slices.SortFunc(a.readers, func(x, y *reader) int { return strings.Compare(x.sub.Name, y.sub.Name) })
	return a
}

// Start lets the archiver run and returns at once. It waits for its brokers.
func (a *Archiver) Start() {
	for _, r := range a.readers {
		a.tasks.Go(r.run)
	}
	a.tasks.Go(a.expire)
}

// Stop takes no more letters and waits for those in hand until ctx is done;
// what the store does not take by then goes back to its broker. The error says
// what was cut short.
func (a *Archiver) Stop(ctx context.Context) error {
	a.giveUp()
	stop := context.AfterFunc(ctx, a.cut)
	defer stop()
	errs := make([]error, len(a.readers))
	var draining sync.WaitGroup
	for i, r := range a.readers {
		draining.Go(func() { errs[i] = r.subscriber.Drain(ctx) })
	}
	draining.Wait()
	a.tasks.Wait()
	a.cut()
	a.metrics.unregister()
	return errors.Join(errs...)
}

// Problems lists the topics whose letters cannot be archived now, and why.
// Empty: there are none. It does not wait.
func (a *Archiver) Problems() []string {
	var problems []string
	for _, r := range a.readers {
		if why := r.problem(); why != "" {
			problems = append(problems, why)
		}
	}
	return problems
}

const (
	// keepCompleted is how long a letter stays whose message succeeded after all.
	keepCompleted = 7 * 24 * time.Hour
	expireEvery   = time.Minute
)

// expire deletes letters whose time is up, a chunk a transaction.
func (a *Archiver) expire() {
	tick := time.NewTicker(expireEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-a.life.Done():
			return
		}
		for a.expireSome(time.Now()) == store.MaxPage {
			if a.life.Err() != nil {
				return
			}
		}
	}
}

func (a *Archiver) expireSome(now time.Time) int {
	ctx, cancel := context.WithTimeout(a.tries, storeTimeout)
	defer cancel()
	n, err := a.opts.Store.ExpireLetters(ctx, store.Expiry{Now: now, Completed: now.Add(-keepCompleted), Limit: store.MaxPage})
	if err != nil { // the next tick tries again
		a.opts.Log.Warn("delete dead letters whose time is up", "error", err)
	}
	return n
}
