package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// route is one handler at work.
type route struct {
	handler    pipeline.Handler
	sub        broker.Subscription
	subscriber *broker.Subscriber
	inlet      *inlet         // of its delayed messages; nil: there is no store
	order      *order         // of keys that delayed messages hold; nil: they hold none
	left       *leftover      // what its topic has on another broker; nil: the topic is not moving
	brokers    []string       // that it reads or writes
	once       *pipeline.Once // nil: it has no effect
	chain      message.HandlerFunc
	workers    *workers
	log        *slog.Logger
	onStop     []func()

	opening sync.Mutex // held while the subscription opens, and by a stop that forbids it
	over    bool       // it may not open any more

	mu      sync.Mutex
	begun   bool
	stalled map[string]int // why the intake is closed, and how many say so
}

func (e *Engine) newRoute(h pipeline.Handler) (*route, error) {
	kind, ok := e.opts.Kinds.Get(h.Kind)
	if !ok {
		return nil, fmt.Errorf("kind %q is not registered in this program", h.Kind)
	}
	r := &route{
		handler: h,
		log:     e.log.With("handler", h.Name),
		stalled: make(map[string]int),
		workers: e.workers,
		sub:     broker.SubscriptionOf(e.opts.Pipeline, h),
	}
	r.brokers = e.brokersOf(h)
	r.once = onceOf(kind, h.Config)
	fn, err := kind.New(pipeline.Env{
		Handler: h.Name,
		Version: h.Version,
		Outputs: outputs(h),
		Dir:     e.opts.Pipeline.Dir,
		Log:     r.log,
		OnStop:  func(f func()) { r.onStop = append(r.onStop, f) },
		State:   e.stateOf(h),
	}, h.Config)
	if err != nil {
		r.close()
		return nil, fmt.Errorf("make kind %s: %w", h.Kind, err)
	}
	window := r.sub
	if h.Concurrency > 1 {
		// All that is in flight may wait for confirms while others run (see
		// Slots): what is published together, the brokers take together. On
		// Kafka that is half as much again a second as twice the concurrency
		// gave, at less CPU on both sides. One at a time stays one at a time.
		window.Concurrency = max(h.InFlight, h.Concurrency)
	}
	r.inlet = e.newInlet(r)
	r.subscriber = broker.NewSubscriber(window, r.inlet.with(e.opts.Brokers[r.sub.Topic.Broker].Source(r.sub)), r.log)
	r.left = e.newLeftover(r, window)
	// On a worker nobody catches what the chain itself may panic with.
	r.chain = middleware.Recover(e.chain(r, fn))
	return r, nil
}

func outputs(h pipeline.Handler) []string {
	names := make([]string, 0, len(h.To))
	for name := range h.To {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// brokersOf lists the brokers that a handler reads or writes.
func (e *Engine) brokersOf(h pipeline.Handler) []string {
	topics := append(outputs(h), h.From, h.DeadLetter)
	if h.MaxReplays > 0 {
		topics = append(topics, h.Parking())
	}
	for i, name := range outputs(h) {
		topics[i] = h.To[name]
	}
	var brokers []string
	for _, t := range topics {
		if name := e.opts.Pipeline.Topics[t].Broker; !slices.Contains(brokers, name) {
			brokers = append(brokers, name)
		}
	}
	return brokers
}

// begin adds the route to the running router. What is left on another broker
// has a handler of its own there, with the same chain, so that the bounds of
// the two are one.
func (r *route) begin(router *message.Router) error {
	if r.left != nil {
		if err := r.add(router, r.handler.Name+" on "+r.left.sub.Topic.Broker, r.left); err != nil {
			return err
		}
	}
	if r.left == nil || !r.left.first {
		if err := r.listen(router); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = true
	return nil
}

func (r *route) add(router *message.Router, name string, from message.Subscriber) error {
	router.AddConsumerHandler(name, r.sub.Topic.Name, from, func(bundle *message.Message) error {
		r.handle(broker.MessagesOf(bundle))
		return nil
	})
	return router.RunHandlers(context.Background())
}

// handle handles messages, and returns when all are settled.
func (r *route) handle(msgs []*message.Message) {
	var open sync.WaitGroup
	open.Add(len(msgs))
	// Both are made for a bundle, not for each of its messages.
	ended := func(outcome *pipeline.Outcome, how error) {
		r.settled(outcome.Message(), outcome.Conclude(how))
		open.Done()
	}
	r.workers.do(func(msg *message.Message) {
		if !r.settle(msg, ended) {
			open.Done()
		}
	}, msgs)
	open.Wait()
}

// settle runs the message and acknowledges it, or gives it back to its
// subscription. True: it does when its outcome is known, which ended is told. One
// that the subscription has let go of while it was on its way does not begin: it
// may run elsewhere by now.
func (r *route) settle(msg *message.Message, ended func(*pipeline.Outcome, error)) (later bool) {
	if msg.Context().Err() != nil {
		return false
	}
	_, err := r.chain(msg)
	outcome := pipeline.OutcomeOf(msg.Context())
	if l := outcome.Deferred(); l != nil && err == nil {
		l.Begin(outcome, ended)
		return true
	}
	r.settled(msg, err)
	return false
}

// settled settles a message that its chain is done with.
func (r *route) settled(msg *message.Message, err error) {
	if err != nil && !errors.Is(err, context.Canceled) {
		r.log.Error("message is given back: "+err.Error(), "message", msg.UUID)
	}
	broker.Settle(msg, err == nil)
}

// listen opens the route's subscription, unless the route is stopping.
func (r *route) listen(router *message.Router) error {
	r.opening.Lock()
	defer r.opening.Unlock()
	if r.over {
		return nil
	}
	if err := r.add(router, r.handler.Name, kept{r.subscriber.Bundles()}); err != nil {
		return err
	}
	r.log.Info("listening on "+r.sub.Topic.Name, "group", r.sub.Name, "kind", r.handler.Kind,
		"concurrency", r.sub.Concurrency, "ordering", r.sub.Ordering)
	return nil
}

// drain ends the route's subscriptions, at once. See broker.Subscriber.Drain.
func (r *route) drain(ctx context.Context) error {
	r.opening.Lock()
	r.over = true
	r.opening.Unlock()
	if r.left == nil {
		return r.subscriber.Drain(ctx)
	}
	var err error
	var draining sync.WaitGroup
	draining.Go(func() { err = r.left.drain(ctx) })
	both := r.subscriber.Drain(ctx)
	draining.Wait()
	return errors.Join(both, err)
}

func (r *route) pause() {
	r.subscriber.Pause()
	if r.left != nil {
		r.left.progress.pause()
	}
}

func (r *route) resume() {
	r.subscriber.Resume()
	if r.left != nil {
		r.left.progress.resume()
	}
}

// kept is a subscriber that the router cannot close: the engine does, once
// what runs has finished.
type kept struct{ message.Subscriber }

func (k kept) Close() error { return nil }

// stall closes the route's intake until the returned function is called.
func (r *route) stall(why string) func() {
	r.mu.Lock()
	if r.stalled[why]++; r.stalled[why] == 1 {
		r.log.Warn("handler is held: " + why)
	}
	r.mu.Unlock()
	r.pause()
	return sync.OnceFunc(func() {
		r.resume()
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.stalled[why]--; r.stalled[why] == 0 {
			delete(r.stalled, why)
			r.log.Info("handler goes on", "after", why)
		}
	})
}

// close frees what the kind holds, in reverse order.
func (r *route) close() {
	for _, f := range slices.Backward(r.onStop) {
		f()
	}
	r.onStop = nil
	if r.subscriber != nil {
		_ = r.subscriber.Close() // never fails
	}
}
