package replay

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// How long a lease lasts, and how often a Runner looks for work that nobody
// has: together the time until a dead instance's replay goes on.
const (
	leaseTime = 8 * time.Second
	lookEvery = time.Second
)

// How long selections and ended replays are kept, and how often old ones are
// looked for.
const (
	keepTime      = 30 * 24 * time.Hour
	replaysExpire = time.Hour
)

// Edit is a compiled transform: it returns what a letter's content becomes, and
// leaves the one it was given alone.
type Edit func(store.Content) (store.Content, error)

// Options are what a Runner works with.
type Options struct {
	Store store.Store
	// Handler returns a handler of the pipeline. Letters of others are published
	// to the topic that their message came from.
	Handler func(name string) (pipeline.Handler, bool)
	// Topic returns a topic of the pipeline.
	Topic func(name string) (pipeline.Topic, bool)
	// Publish publishes to a topic and returns an error for each message: nil
	// where the broker has confirmed it.
	Publish func(ctx context.Context, topic string, msgs []*message.Message) []error
	// Transform compiles an expression. Nil: transforms are refused.
	Transform func(source string) (Edit, error)
	// Requeued is told, after the fact, which keys of a handler have a message
	// that waits in the store now. May be nil.
	Requeued func(handler string, keys []string)
	Log      *slog.Logger
}

// Runner carries out the replays that are in the store, as long as it runs.
// Its methods may be called by many goroutines at once.
type Runner struct {
	opts Options
	wake chan struct{}

	start  sync.Once
	cancel context.CancelFunc
	done   sync.WaitGroup
}

// New returns a Runner that does nothing before Start.
func New(opts Options) *Runner {
	return &Runner{opts: opts, wake: make(chan struct{}, 1)}
}

// Start lets it look for replays. It returns at once.
func (r *Runner) Start() {
	r.start.Do(func() {
		ctx, cancel := context.WithCancel(context.Background())
		r.cancel = cancel
		r.done.Go(func() { r.look(ctx) })
	})
}

// Stop ends it: replays stay where they are, for the next start or another
// instance. It waits until nothing is under way.
func (r *Runner) Stop() {
	r.start.Do(func() {}) // not after this
	if r.cancel != nil {
		r.cancel()
	}
	r.done.Wait()
}

// Wake has it look now: there is a replay to carry out.
func (r *Runner) Wake() {
	select {
	case r.wake <- struct{}{}:
	default: // it is about to look
	}
}

// look takes replays that nobody has, and old ones away.
func (r *Runner) look(ctx context.Context) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	expire := time.NewTicker(replaysExpire)
	defer expire.Stop()
	for {
		r.take(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-r.wake:
		case <-expire.C:
			r.expire(ctx)
		}
	}
}

// take starts a goroutine for each replay that can be had.
func (r *Runner) take(ctx context.Context) {
	for ctx.Err() == nil {
		lease, ok, err := r.opts.Store.LeaseReplay(ctx, leaseTime)
		if err != nil {
			r.failed(ctx, "look for replays", err)
			return
		}
		if !ok {
			return
		}
		r.done.Go(func() { r.carry(ctx, lease) })
	}
}

// carry has one replay until it ends, is paused, or becomes somebody else's.
func (r *Runner) carry(ctx context.Context, lease store.ReplayLease) {
	log := r.opts.Log.With("replay_id", lease.ID)
	log.Info("replay goes on", "letters", lease.Count, "pending", lease.Pending)
	run := &run{Runner: r, lease: lease, log: log}
	err := run.loop(ctx)
	if errors.Is(err, store.ErrStaleToken) {
		log.Warn("replay is somebody else's now")
		return
	}
	if err != nil && ctx.Err() == nil { // a stop is no problem of the replay
		r.failed(ctx, "replay", err)
		run.lease.Problem = err.Error()
		_ = pause(ctx, lookEvery) // nobody takes it meanwhile
	}
	// Another instance need not wait for the lease's end, though this one stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	if err := r.opts.Store.ReleaseReplay(ctx, run.lease); err != nil {
		log.Warn("release replay", "error", err)
	}
}

func (r *Runner) expire(ctx context.Context) {
	for ctx.Err() == nil {
		n, err := r.opts.Store.ExpireReplays(ctx, time.Now().Add(-keepTime), store.MaxPage)
		if err != nil {
			r.failed(ctx, "expire replays", err)
		}
		if err != nil || n < store.MaxPage {
			return
		}
	}
}

// failed logs what will be tried again.
func (r *Runner) failed(ctx context.Context, what string, err error) {
	if ctx.Err() == nil {
		r.opts.Log.Error(what+": it is tried again", "error", err)
	}
}
