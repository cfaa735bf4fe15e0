package rabbitbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
)

// hangUp bounds how long a connection is given to close in order.
const hangUp = 2 * time.Second

// newBackoff returns the pauses between attempts to connect or subscribe.
// The longest, jitter included, is well below the 5 s in which consuming must
// go on after the broker's port has opened.
func newBackoff() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.MaxInterval = 200*time.Millisecond, 2*time.Second
	b.Multiplier, b.RandomizationFactor = 1.6, 0.3
	return b
}

// What links are for, as the broker lists their connections.
const (
	purposeConsume = "consume"
	purposePublish = "publish"
)

// link is one connection to the broker that is made again, for ever, whenever
// it breaks. There are two: alarms block connections that publish, and acks
// must not wait behind them.
type link struct {
	purpose  string
	endpoint *endpoint
	log      *slog.Logger

	stop  context.CancelFunc
	tasks sync.WaitGroup // run, and what do and others began
	life  context.Context

	mu      sync.Mutex
	started bool
	state   linkState
	changed chan struct{} // closed, and made anew, with every change of state
}

// linkState is how a link stands.
type linkState struct {
	conn    *connection // nil while there is none
	err     error       // why not
	blocked string      // why the broker does not take messages for now
	since   time.Time   // of the last change
}

func newLink(purpose string, e *endpoint, log *slog.Logger) *link {
	l := &link{
		purpose: purpose, endpoint: e, log: log.With("connection", purpose),
		changed: make(chan struct{}),
		state:   linkState{err: errors.New("not connected yet"), since: time.Now()},
	}
	l.life, l.stop = context.WithCancel(context.Background())
	return l
}

// start begins to connect; further calls do nothing.
func (l *link) start() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.started && l.life.Err() == nil {
		l.started = true
		l.tasks.Go(l.run)
	}
}

// close hangs up and waits for every goroutine of the link.
func (l *link) close() {
	l.mu.Lock()
	l.stop()
	l.mu.Unlock()
	l.tasks.Wait()
}

// run connects, watches the connection, and connects again.
func (l *link) run() {
	pauses := newBackoff()
	for l.life.Err() == nil {
		conn, err := l.endpoint.dial(l.life, l.purpose)
		if err != nil {
			l.fail(err)
			if !rest(l.life, pauses.NextBackOff()) {
				break
			}
			continue
		}
		pauses.Reset()
		l.watch(conn)
	}
	l.set(linkState{err: errClosed})
}

// watch returns when the connection has ended.
func (l *link) watch(conn *connection) {
	closed := conn.NotifyClose(make(chan *amqp.Error, 1))
	alarms := conn.NotifyBlocked(make(chan amqp.Blocking, 16))
	l.set(linkState{conn: conn})
	l.log.Info("connected to RabbitMQ", "address", l.endpoint.address, "user", l.endpoint.user)
	for {
		select {
		case alarm, ok := <-alarms:
			if !ok {
				alarms = nil
				continue
			}
			l.block(conn, alarm)
		case err := <-closed:
			l.lost(err)
			return
		case <-l.life.Done():
			_ = conn.CloseDeadline(time.Now().Add(hangUp))
			return
		}
	}
}

func (l *link) block(conn *connection, alarm amqp.Blocking) {
	state := linkState{conn: conn}
	if alarm.Active {
		state.blocked = "RabbitMQ takes no messages: " + alarm.Reason
		l.log.Warn("broker blocks publishing", "reason", alarm.Reason)
	} else {
		l.log.Info("broker takes messages again")
	}
	l.set(state)
}

func (l *link) lost(cause *amqp.Error) {
	err := errors.New("the connection was closed")
	if cause != nil {
		err = cause
	}
	err = pipeline.WithReason(fmt.Errorf("connection to RabbitMQ at %s as %q lost: %w",
		l.endpoint.address, l.endpoint.user, err), pipeline.ReasonUnavailable)
	l.log.Warn("connection lost", "error", err)
	l.set(linkState{err: err})
}

// fail records why there is no connection; the same cause is logged once.
func (l *link) fail(err error) {
	if l.life.Err() != nil {
		return
	}
	if before := l.now(); before.err == nil || before.err.Error() != err.Error() {
		l.log.Error("cannot connect; trying again", "error", err)
		l.set(linkState{err: err})
	}
}

func (l *link) set(s linkState) {
	s.since = time.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.state = s
	close(l.changed)
	l.changed = make(chan struct{})
}

func (l *link) now() linkState {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.state
}

// active reports whether the link is wanted at all.
func (l *link) active() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.started
}

// connection waits until there is one. The error says why there was none by
// the time ctx was done.
func (l *link) connection(ctx context.Context) (*connection, error) {
	l.start()
	for {
		l.mu.Lock()
		state, changed := l.state, l.changed
		l.mu.Unlock()
		if state.conn != nil && !state.conn.IsClosed() {
			return state.conn, nil
		}
		select {
		case <-changed:
		case <-l.life.Done():
			return nil, errClosed
		case <-ctx.Done():
			if state.err == nil {
				state.err = errLost
			}
			return nil, pipeline.WithReason(state.err, pipeline.ReasonUnavailable)
		}
	}
}

// do calls f with a channel of its own, which it closes afterwards. It
// returns when f does or when ctx is done; then f ends by itself, with the
// connection at the latest.
func (l *link) do(ctx context.Context, f func(*amqp.Channel) error) error {
	conn, err := l.connection(ctx)
	if err != nil {
		return err
	}
	return l.await(ctx, func() error {
		ch, err := conn.Channel()
		if err != nil {
			return err
		}
		defer func() { _ = ch.Close() }()
		return f(ch)
	}, nil)
}

// await calls f, which waits for answers of the broker, and returns when it
// does or when ctx is done. If ctx was first, undo is called after f has
// succeeded; undo may be nil.
func (l *link) await(ctx context.Context, f func() error, undo func()) error {
	ended, left := make(chan error, 1), make(chan struct{})
	ok := l.spawn(func() {
		err := f()
		ended <- err
		<-left
		if err == nil && len(ended) > 0 && undo != nil {
			undo()
		}
	})
	if !ok {
		return errClosed
	}
	defer close(left)
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
		return pipeline.WithReason(fmt.Errorf("RabbitMQ at %s did not answer: %w",
			l.endpoint.address, context.Cause(ctx)), pipeline.ReasonUnavailable)
	}
}

// spawn runs f in a goroutine that close waits for; false: too late.
func (l *link) spawn(f func()) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.life.Err() != nil {
		return false
	}
	l.tasks.Go(f)
	return true
}

// rest waits, and reports whether it was for the whole time.
func rest(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
