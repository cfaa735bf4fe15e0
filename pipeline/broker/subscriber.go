package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Source is a driver's end of one subscription.
type Source interface {
	// Run takes messages from the broker and delivers them to claims of w,
	// acknowledges what the claims say is done, and reconnects by itself. It
	// returns only
	//   - after w.Draining: when it has closed its claims with the context
	//     that it was given (Claim.Close waits for what runs), acknowledged
	//     all that is done so that the broker has it for sure, and closed
	//     what it opened; or
	//   - after ctx is done: the same without waiting for what runs, and
	//     within a few seconds.
	// What was delivered and is not done must be handed out by the broker
	// again, to this or another instance.
	//
	// When only its connection is lost, a source makes a new claim and closes
	// the old one with ctx, on the side: closing it with a context that is
	// done would cancel handlers in the middle of an effect. Their messages
	// come again all the same; the lanes keep the repeat behind the run.
	//
	// The error is for the log.
	Run(ctx context.Context, w *Window) error
}

// Subscriber is a running subscription: a Source, its window, and the channel
// that Watermill's router reads. It is made for one Subscribe.
type Subscriber struct {
	sub    Subscription
	source Source
	log    *slog.Logger

	window *Window
	hard   context.CancelCauseFunc // lets go of everything
	done   chan struct{}           // closed when everything has ended
	ended  chan error              // holds why the source ended by itself

	mu      sync.Mutex
	started bool
	closed  bool
}

var _ message.Subscriber = (*Subscriber)(nil)

// NewSubscriber returns the subscriber of sub, whose source is b.Source(sub).
func NewSubscriber(sub Subscription, source Source, log *slog.Logger) *Subscriber {
	sub.Concurrency = max(sub.Concurrency, 1)
	sub.InFlight = max(sub.InFlight, sub.Concurrency)
	life, hard := context.WithCancelCause(context.Background())
	return &Subscriber{
		sub: sub, source: source, log: log.With("group", sub.Name),
		window: newWindow(life, sub), hard: hard, done: make(chan struct{}), ended: make(chan error, 1),
	}
}

// Subscribe starts the subscription; topic must be that of the Subscription.
// Each message is to be acked or nacked. When ctx is done the subscription
// closes, as with Close.
func (s *Subscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return s.subscribe(ctx, topic, false)
}

func (s *Subscriber) subscribe(ctx context.Context, topic string, bundles bool) (<-chan *message.Message, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case topic != s.sub.Topic.Name:
		return nil, fmt.Errorf("subscribe to %q: this subscriber is for %q", topic, s.sub.Topic.Name)
	case s.closed:
		return nil, fmt.Errorf("subscribe to %q: the subscriber is closed", topic)
	case s.started:
		return nil, fmt.Errorf("subscribe to %q: it is subscribed already", topic)
	}
	s.started = true
	s.window.bundles = bundles
	s.window.helpers.Go(s.window.handOut)
	stop := context.AfterFunc(ctx, func() { s.hard(context.Cause(ctx)) })
	go func() {
		defer stop()
		s.run()
	}()
	return s.window.out, nil
}

// run lasts as long as the source does, and owns the end of the window.
func (s *Subscriber) run() {
	defer close(s.done)
	defer close(s.window.out)
	defer s.window.helpers.Wait()
	defer s.hard(pipeline.ErrStopping)
	err := s.source.Run(s.window.life, s.window)
	if s.window.intake.Err() == nil {
		s.ended <- errors.Join(errors.New("the source gave up"), err)
		return
	}
	if err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrDraining) {
		s.log.Error("subscription ended", "error", err)
	}
}

// Ended yields why the subscription ended though it was neither drained nor
// closed: a fault that the source could not live with.
func (s *Subscriber) Ended() <-chan error { return s.ended }

// Pause stops handing out messages; those that run go on. Each Pause wants
// its Resume.
func (s *Subscriber) Pause() { s.window.pause() }

// Resume undoes one Pause.
func (s *Subscriber) Resume() { s.window.resume() }

// InFlight returns how many messages are taken and not yet settled.
func (s *Subscriber) InFlight() int { return s.window.InFlight() }

// Drain stops the intake, lets what runs finish, has the broker confirm what
// is done, and closes the subscription. When ctx is done first, it closes at
// once, and the error says how many messages had not finished; they will be
// handed out again.
func (s *Subscriber) Drain(ctx context.Context) error {
	if !s.begun() {
		return nil
	}
	s.window.drain()
	select {
	case <-s.done:
		return nil
	case <-ctx.Done():
	}
	handled := s.window.handled.Load()
	s.hard(pipeline.ErrStopping)
	<-s.done
	return fmt.Errorf("drain %s: %d messages were being handled when the time was up: %w", s.sub.Name, handled, context.Cause(ctx))
}

// Close ends the subscription without waiting for what runs. It is
// idempotent.
func (s *Subscriber) Close() error {
	if s.begun() {
		s.hard(pipeline.ErrStopping)
		<-s.done
	}
	return nil
}

// begun marks the subscriber closed and reports whether it was ever started.
func (s *Subscriber) begun() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.started && !s.closed {
		s.hard(pipeline.ErrStopping)
	}
	s.closed = true
	return s.started
}
