package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// How often the broker that a topic is moving away from is asked what is left
// there: until it was empty, and afterwards. And how long it may take to
// answer, and how often the log says how far it is.
const (
	leftEvery   = 500 * time.Millisecond
	lateEvery   = 5 * time.Second
	leftTimeout = 10 * time.Second
	leftTold    = 10 * time.Second
)

// leftover reads what a route's topic still has on the broker that the topic
// is moving away from. On a route with an order it opens the new broker's
// subscription when nothing is left. Its only memory is the old broker's own
// count, so a restart goes on where the last run was.
//
// That count is believed only while nobody reads: what a reader has in hand,
// in this process or another, is in no broker's count for sure. So the reader
// is one for a while: it reads until nothing seems to be left, drains, and
// the broker is asked again. See docs/decisions/0009-draining.md.
type leftover struct {
	engine *Engine
	route  *route
	sub    broker.Subscription
	window broker.Subscription // sub as the reader's window has it
	from   broker.Broker
	first  bool // the new broker is not read before this one is empty
	log    *slog.Logger
	out    chan *message.Message // to the router; closed when run ends

	work sync.WaitGroup
	hard context.Context // ends when a stop's time is up
	cut  context.CancelCauseFunc
	err  error // of the last drain; read it after work

	progress progress
}

// newLeftover returns nil for a route whose topic is not moving.
func (e *Engine) newLeftover(r *route, window broker.Subscription) *leftover {
	sub, moving := broker.LeftoverOf(e.opts.Pipeline, r.handler)
	if !moving {
		return nil
	}
	l := &leftover{
		engine: e, route: r, sub: sub, window: sub, from: e.opts.Brokers[sub.Topic.Broker],
		first: sub.Ordering == pipeline.OrderingKey || sub.Ordering == pipeline.OrderingPartition,
		log:   r.log.With("broker", sub.Topic.Broker, "topic", sub.Topic.Name),
		out:   make(chan *message.Message),
	}
	l.progress.left = -1
	l.window.Concurrency = window.Concurrency
	l.hard, l.cut = context.WithCancelCause(context.Background())
	return l
}

// Subscribe implements message.Subscriber, for the router.
func (l *leftover) Subscribe(context.Context, string) (<-chan *message.Message, error) {
	l.work.Go(l.run)
	return l.out, nil
}

// Close implements message.Subscriber. The engine ends it, with drain.
func (l *leftover) Close() error { return nil }

// drain waits until what is being read has finished; when ctx is done it is
// cut short, and the error says so.
func (l *leftover) drain(ctx context.Context) error {
	defer context.AfterFunc(ctx, func() { l.cut(context.Cause(ctx)) })()
	l.work.Wait()
	l.cut(nil)
	return l.err
}

// run lasts until the engine stops.
func (l *leftover) run() {
	defer close(l.out)
	life := l.engine.life
	if l.first { // no line in the log: who provisions the broker has one if it is away
		l.progress.note(-1, errors.New("it is read first, and waits for its broker"))
	}
	select {
	case <-l.engine.ready[l.sub.Topic.Broker].ch:
	case <-life.Done():
	}
	for life.Err() == nil {
		status, err := l.look()
		done := l.progress.state().empty
		switch {
		case err != nil:
			l.note(-1, err)
		case status.Ready > 0:
			l.read(status.Ready)
			continue
		case status.Consumers > 0 && !done:
			if l.progress.wait(status.Consumers) {
				l.log.Info("draining: others still read it, and may have messages in hand", "readers", status.Consumers)
			}
		case !done:
			l.finish()
		default:
			l.note(0, nil)
		}
		l.rest(done)
	}
}

func (l *leftover) rest(done bool) {
	pause := leftEvery
	if done {
		pause = lateEvery
	}
	select {
	case <-time.After(pause):
	case <-l.engine.life.Done():
	}
}

// look asks the broker what is left, and the store for what is held. Not to
// know is an error.
func (l *leftover) look() (broker.Status, error) {
	ctx, cancel := context.WithTimeout(l.engine.life, leftTimeout)
	defer cancel()
	rows, err := l.from.Inspect(ctx, nil, []broker.Subscription{l.sub})
	if err != nil {
		return broker.Status{}, err
	}
	for _, row := range rows {
		if row.Name == l.sub.Name && row.Ready >= 0 && row.Consumers >= 0 {
			held, err := l.held(ctx)
			row.Ready += held
			return row, err
		}
		if row.Name == l.sub.Name {
			return row, errors.New(strings.Join(row.Problems, "; "))
		}
	}
	return broker.Status{}, fmt.Errorf("it says nothing of %s", l.sub.Name)
}

// held counts the partitions that are held by messages in the store. Nothing on
// the new broker would wait for them, whose partitions are others: so they are
// left, too, until nothing was for the first time. Then what is held may be the
// new broker's.
func (l *leftover) held(ctx context.Context) (int64, error) {
	s := l.engine.opts.Store
	if s == nil || l.sub.Ordering != pipeline.OrderingPartition || !ordered(l.route.handler) || l.progress.state().empty {
		return 0, nil
	}
	keys, err := s.HeldKeys(ctx, l.route.handler.Name)
	if err != nil {
		return 0, fmt.Errorf("ask the store which partitions are held: %w", err)
	}
	return int64(len(keys)), nil
}

// read hands out what is left until nothing seems to be, and sees to it that
// the broker knows of every acknowledgement and has back what did not begin.
func (l *leftover) read(waiting int64) {
	source := l.from.Source(l.sub)
	if l.first { // else the new broker's subscription takes in what is delayed
		source = l.route.inlet.with(source)
	}
	reader := broker.NewSubscriber(l.window, source, l.log)
	late := l.progress.begin(reader, waiting) // before it reads: the route may be held
	defer l.progress.end()
	bundles, err := reader.Bundles().Subscribe(context.Background(), l.sub.Topic.Name)
	if err != nil {
		l.fail(fmt.Errorf("drain %s: %w", l.sub.Name, err))
		return
	}
	if late {
		l.log.Warn("draining: messages have come after all was read: somebody still publishes there. They are handled, "+
			"in no order with those of the new broker", "left", waiting)
	} else {
		l.log.Info("draining: what is left is read", "left", waiting)
	}
	var passing sync.WaitGroup
	passing.Go(func() {
		for bundle := range bundles {
			select {
			case l.out <- bundle:
			case <-l.hard.Done(): // the reader lets go of all
			}
		}
	})
	l.watch(reader)
	l.err = reader.Drain(l.hard)
	passing.Wait()
}

// fail ends the engine, and returns when it stops: nothing is tried again.
func (l *leftover) fail(err error) {
	l.engine.fail(err)
	<-l.engine.life.Done()
}

// watch returns when the reader seems to have nothing more to read, or the
// engine stops.
func (l *leftover) watch(reader *broker.Subscriber) {
	told := time.Now()
	for {
		select {
		case err := <-reader.Ended():
			l.fail(fmt.Errorf("handler %s: its subscription %s on %s has ended: %w", l.route.handler.Name, l.sub.Name, l.sub.Topic.Broker, err))
			return
		case <-l.engine.life.Done():
			return
		case <-time.After(leftEvery):
		}
		status, err := l.look()
		switch {
		case err != nil:
			l.note(-1, err)
			continue
		case status.Ready == 0 && reader.InFlight() == 0:
			return
		}
		l.note(status.Ready, nil)
		if time.Since(told) > leftTold {
			told = time.Now()
			l.log.Info("draining", "left", status.Ready)
		}
	}
}

// note keeps how the drain stands, and tells of what stops it.
func (l *leftover) note(left int64, err error) {
	if isNew := l.progress.note(left, err); isNew && l.engine.life.Err() == nil {
		l.log.Warn("draining: " + err.Error())
	}
}

// finish opens the new broker's subscription when all was read for the first
// time.
func (l *leftover) finish() {
	if l.first {
		if err := l.route.listen(l.engine.router); err != nil {
			l.fail(fmt.Errorf("start handler %s: %w", l.route.handler.Name, err))
			return
		}
	}
	l.progress.finish()
	l.log.Info("draining: nothing is left")
	l.engine.drained(l.sub.Topic)
}

// drained tells when no handler of the topic has anything left to read.
func (e *Engine) drained(topic pipeline.Topic) {
	for _, r := range e.routes {
		if r.left != nil && r.sub.Topic.Name == topic.Name && !r.left.progress.state().empty {
			return
		}
	}
	e.log.Info("draining: all was read: once nobody publishes there any more, remove draining from the topic's config",
		"topic", topic.Name, "broker", topic.Broker)
}
