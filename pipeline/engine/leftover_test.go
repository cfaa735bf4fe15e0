package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// shelf is a broker that a topic moves away from. As on RabbitMQ, what a
// reader has been sent is not counted as waiting, long before it is handled,
// and comes back if it was not done.
type shelf struct {
	*fake
	mu      sync.Mutex
	waiting []*message.Message
	readers int
	more    chan struct{}
	drains  chan struct{} // holds a token once a reader takes no more
	away    error         // what Inspect answers
	opening func()        // called when a reader is made; nil: nothing to do
}

func newShelf(ids ...string) *shelf {
	s := &shelf{fake: newFake(), more: make(chan struct{}, 1), drains: make(chan struct{}, 10)}
	s.put(ids...)
	return s
}

func (s *shelf) put(ids ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.waiting = append(s.waiting, message.NewMessage(id, []byte(`{}`)))
	}
	select {
	case s.more <- struct{}{}:
	default:
	}
}

// change is for what others do to the broker.
func (s *shelf) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *shelf) left() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var ids []string
	for _, msg := range s.waiting {
		ids = append(ids, msg.UUID)
	}
	return ids
}

func (s *shelf) Inspect(_ context.Context, _ []pipeline.Topic, subs []broker.Subscription) ([]broker.Status, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.away != nil {
		return nil, s.away
	}
	return []broker.Status{{Name: subs[0].Name, Topic: "in", Ready: int64(len(s.waiting)), InFlight: -1, Consumers: s.readers}}, nil
}

func (s *shelf) Source(broker.Subscription) broker.Source {
	if s.opening != nil {
		s.opening()
	}
	return shelfSource{s}
}

type shelfSource struct{ *shelf }

// Run sends all that waits to the reader at once.
func (s shelfSource) Run(ctx context.Context, w *broker.Window) error {
	s.change(func() { s.readers++ })
	claim := w.Claim(broker.ClaimOptions{})
	var sent []*message.Message
	for open := true; open; {
		var batch []*message.Message
		s.change(func() { batch, s.waiting = s.waiting, nil })
		for _, msg := range batch {
			pos := int64(len(sent))
			sent = append(sent, msg)
			if open = open && claim.Deliver(ctx, broker.Delivery{Message: msg.Copy(), Position: pos, Origin: pipeline.Origin{Topic: "in"}}) == nil; !open {
				continue
			}
		}
		select {
		case <-s.more:
		case <-w.Draining():
			open = false
		}
	}
	s.drains <- struct{}{}
	err := claim.Close(ctx)
	done := make(map[int64]bool)
	progress := claim.Take(broker.Progress{})
	for _, pos := range append(progress.Prefix, progress.Above...) {
		done[pos] = true
	}
	var back []*message.Message
	for pos, msg := range sent {
		if !done[int64(pos)] {
			back = append(back, msg)
		}
	}
	s.change(func() {
		s.waiting = append(back, s.waiting...)
		s.readers--
	})
	return err
}

// handling is the order in which messages were handled.
type handling struct {
	mu  sync.Mutex
	ids []string
}

func (j *handling) pass(msg *message.Message) ([]*message.Message, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.ids = append(j.ids, msg.UUID)
	return pass(msg)
}

func (j *handling) text() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return strings.Join(j.ids, " ")
}

func (j *handling) await(t *testing.T, want string) {
	t.Helper()
	require.Eventually(t, func() bool { return j.text() == want }, soon, time.Millisecond, "want %s", want)
}

// logText is a log that is written and read at once.
type logText struct {
	mu sync.Mutex
	strings.Builder
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.Write(p)
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.Builder.String()
}

// newMove is a rig whose topic "in" moves from broker old to broker main.
func newMove(t *testing.T, old *shelf, ordering pipeline.Ordering, kind message.HandlerFunc) (*rig, *logText) {
	t.Helper()
	return newMoveWith(t, nil, old, ordering, kind)
}

// newMoveWith is newMove with a store.
func newMoveWith(t *testing.T, s store.Store, old *shelf, ordering pipeline.Ordering, kind message.HandlerFunc) (*rig, *logText) {
	t.Helper()
	r := newRig(t, kind, nil)
	p := r.opts.Pipeline
	p.Brokers["old"] = pipeline.Broker{Name: "old"}
	p.Topics["in"] = pipeline.Topic{Name: "in", Broker: "main", Draining: "old"}
	p.Handlers[0].Ordering, p.Handlers[0].Concurrency = ordering, 1
	log := &logText{}
	e, err := New(Options{
		Pipeline: p, Kinds: r.opts.Kinds, Log: slog.New(slog.NewTextHandler(log, nil)),
		Brokers: map[string]broker.Broker{"main": r.fake, "old": old}, Store: s,
	})
	require.NoError(t, err)
	require.NoError(t, r.Stop(t.Context()))
	r.Engine = e
	return r, log
}

func TestDraining(t *testing.T) {
	t.Parallel()

	t.Run("with an order nothing of the new broker is handled before the old one's last message", func(t *testing.T) {
		t.Parallel()
		var j handling
		last, finish := make(chan struct{}), make(chan struct{})
		old := newShelf("o1", "o2", "o3")
		r, log := newMove(t, old, pipeline.OrderingKey, func(msg *message.Message) ([]*message.Message, error) {
			if msg.UUID == "o3" {
				close(last)
				<-finish
			}
			return j.pass(msg)
		})
		r.send("n1")
		r.send("n2")
		r.start(t)
		<-last
		require.Empty(t, old.left(), "the old broker counts nothing as waiting")
		require.Never(t, func() bool { return strings.Contains(j.text(), "n") }, 3*leftEvery, leftEvery/10)
		require.Equal(t, &DrainState{Broker: "old", Left: 0, Gate: true}, r.State().Handlers[0].Draining)
		require.Equal(t, []string{"handler work: draining broker old: 0 messages of in are left"}, r.State().Notes())
		require.Empty(t, r.State().Problems(), "a drain that goes on is no problem")
		close(finish)
		j.await(t, "o1 o2 o3 n1 n2")
		require.Eventually(t, func() bool { return strings.Contains(log.String(), "remove draining from the topic's config") }, soon, time.Millisecond)
		require.Equal(t, []string{"handler work: draining broker old: nothing is left"}, r.State().Notes())
	})

	t.Run("with an order by partitions, which the new broker has others of, what is delayed comes first, too", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			var j handling
			s := &cellar{}
			delayed := due("o1", broker.PartitionLane(3))
			delayed.Due = time.Now().Add(time.Minute)
			s.put(delayed)
			r, _ := newMoveWith(t, s, newShelf(), pipeline.OrderingPartition, j.pass)
			r.send("n1")
			r.start(t)
			time.Sleep(30 * time.Second) //nolint:forbidigo // of synctest's clock
			require.Empty(t, j.text())
			require.Contains(t, r.State().Notes(), "handler work: draining broker old: 1 messages of in are left")
			time.Sleep(time.Minute) //nolint:forbidigo // of synctest's clock
			require.Equal(t, "o1 n1", j.text())

			s.put(due("o2", broker.PartitionLane(3))) // of the new broker, as far as anybody knows
			r.send("n2")
			time.Sleep(time.Minute) //nolint:forbidigo // of synctest's clock
			require.ElementsMatch(t, []string{"o1", "n1", "o2", "n2"}, strings.Fields(j.text()))
			require.Contains(t, r.State().Notes(), "handler work: draining broker old: nothing is left")
			require.NoError(t, r.Stop(t.Context()))
		})
	})

	t.Run("without an order both brokers are read at once", func(t *testing.T) {
		t.Parallel()
		var j handling
		old := newShelf("o1")
		old.readers = 1 // and others are no reason to wait
		r, _ := newMove(t, old, pipeline.OrderingNone, j.pass)
		r.start(t)
		r.send("n1")
		require.Eventually(t, func() bool { return len(j.text()) == len("o1 n1") }, soon, time.Millisecond)
	})

	t.Run("without an order an old broker that is away delays nothing, and is named", func(t *testing.T) {
		t.Parallel()
		var j handling
		old := newShelf("o1")
		old.away = errors.New("connection refused")
		r, _ := newMove(t, old, pipeline.OrderingNone, j.pass)
		r.start(t)
		r.send("n1")
		j.await(t, "n1")
		require.Eventually(t, func() bool {
			return strings.Contains(fmt.Sprint(r.State().Problems()), "handler work: draining broker old: connection refused")
		}, soon, time.Millisecond)
		old.change(func() { old.away = nil })
		j.await(t, "n1 o1")
	})

	t.Run("with an order an old broker that is away holds the handler, and says so", func(t *testing.T) {
		t.Parallel()
		var j handling
		old := newShelf("o1")
		old.provision = func() error { return pipeline.WithReason(errors.New("connection refused"), pipeline.ReasonUnavailable) }
		r, _ := newMove(t, old, pipeline.OrderingKey, j.pass)
		r.send("n1")
		r.start(t)
		require.Eventually(t, func() bool {
			return strings.Contains(fmt.Sprint(r.State().Problems()), "handler work is held: draining broker old: it is read first, and waits for its broker")
		}, soon, time.Millisecond)
		require.Empty(t, j.text())
		old.fake.mu.Lock()
		old.provision = nil
		old.fake.mu.Unlock()
		j.await(t, "o1 n1")
	})

	t.Run("with an order others that still read the old broker are waited for", func(t *testing.T) {
		t.Parallel()
		var j handling
		old := newShelf()
		old.readers = 1
		r, _ := newMove(t, old, pipeline.OrderingPartition, j.pass)
		r.send("n1")
		r.start(t)
		require.Eventually(t, func() bool {
			return strings.Contains(fmt.Sprint(r.State().Notes()), "what its other readers, 1, have in hand is waited for")
		}, soon, time.Millisecond)
		require.Empty(t, r.State().Problems(), "else a rolling restart, which stops the others once this one is ready, would not go on")
		// It dies with a message in hand, which its broker hands out again.
		old.change(func() { old.readers, old.waiting = 0, []*message.Message{message.NewMessage("o1", nil)} })
		j.await(t, "o1 n1")
	})

	t.Run("a message that comes late to the old broker is handled, and told of", func(t *testing.T) {
		t.Parallel()
		var j handling
		old := newShelf()
		r, log := newMove(t, old, pipeline.OrderingKey, j.pass)
		r.send("n1")
		r.start(t)
		j.await(t, "n1")
		old.put("late")
		j.await(t, "n1 late")
		require.Contains(t, log.String(), "somebody still publishes there")
	})

	t.Run("a stop leaves on the old broker what did not begin, and the next start goes on there", func(t *testing.T) {
		t.Parallel()
		var j handling
		begun, finish := make(chan struct{}), make(chan struct{})
		old := newShelf("o1", "o2", "o3")
		r, _ := newMove(t, old, pipeline.OrderingKey, func(msg *message.Message) ([]*message.Message, error) {
			if msg.UUID == "o1" {
				close(begun)
				<-finish
			}
			return j.pass(msg)
		})
		r.start(t)
		<-begun
		stopped := make(chan error)
		go func() { stopped <- r.Stop(context.Background()) }()
		<-old.drains
		close(finish)
		require.NoError(t, <-stopped)
		require.Equal(t, "o1", j.text())
		require.Equal(t, []string{"o2", "o3"}, old.left())

		again, _ := newMove(t, old, pipeline.OrderingKey, j.pass)
		again.send("n1")
		again.start(t)
		j.await(t, "o1 o2 o3 n1")
	})

	t.Run("a stop whose time is up cuts short what is read on the old broker, and says so", func(t *testing.T) {
		t.Parallel()
		begun := make(chan struct{})
		old := newShelf("o1")
		r, _ := newMove(t, old, pipeline.OrderingNone, func(msg *message.Message) ([]*message.Message, error) {
			close(begun)
			<-msg.Context().Done()
			return nil, context.Cause(msg.Context())
		})
		r.start(t)
		<-begun
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		require.ErrorContains(t, r.Stop(ctx), "in.work")
		require.Equal(t, []string{"o1"}, old.left())
	})

	t.Run("a held handler takes nothing more from the old broker either", func(t *testing.T) {
		t.Parallel()
		var j handling
		r, _ := newMove(t, newShelf("o1", "o2", "o3"), pipeline.OrderingNone, j.pass)
		r.fake.set(func(string) error { return pipeline.WithReason(errors.New("away"), pipeline.ReasonUnavailable) })
		r.start(t)
		require.Eventually(t, func() bool { return len(r.State().Handlers[0].Held) == 1 }, soon, time.Millisecond)
		require.Equal(t, "o1", j.text())
		r.fake.set(nil)
		j.await(t, "o1 o2 o3")
	})

	t.Run("a reader that begins while its handler is held hands out nothing", func(t *testing.T) {
		t.Parallel()
		var j handling
		old := newShelf("o1")
		r, _ := newMove(t, old, pipeline.OrderingNone, j.pass)
		route := r.routes[0]
		goOn := route.stall("the test")
		defer goOn()
		old.opening = sync.OnceFunc(func() { // the reader has a while to go ahead of the pause, were it to
			route.left.progress.mu.Lock()
			time.AfterFunc(leftEvery/10, route.left.progress.mu.Unlock)
		})
		r.start(t)
		require.Eventually(t, func() bool { old.mu.Lock(); defer old.mu.Unlock(); return old.readers == 1 }, soon, time.Millisecond)
		require.Never(t, func() bool { return j.text() != "" }, leftEvery/2, leftEvery/20)
		goOn()
		j.await(t, "o1")
	})

	t.Run("a new broker's subscription that cannot open is tried once", func(t *testing.T) {
		t.Parallel()
		r, _ := newMove(t, newShelf(), pipeline.OrderingKey, pass)
		defer r.close()
		left, gaveUp := r.routes[0].left, make(chan struct{})
		go func() {
			defer close(gaveUp)
			left.finish() // the router does not run, and refuses
		}()
		require.ErrorContains(t, <-r.Failed(), "start handler work: ")
		require.Never(t, func() bool { // else run would try again, and Watermill panic
			select {
			case <-gaveUp:
				return true
			default:
				return false
			}
		}, leftEvery/5, leftEvery/50)
		r.giveUp()
		<-gaveUp
		require.False(t, left.progress.state().empty)
	})

	t.Run("where something is missing on the old broker it is said why it is not made", func(t *testing.T) {
		t.Parallel()
		for _, missing := range []bool{true, false} {
			err := pipeline.Permanent(errors.New("not authorized"))
			if missing {
				err = pipeline.Permanent(fmt.Errorf("topic in: %w", broker.ErrMissing))
			}
			old := newShelf()
			old.provision = func() error { return err }
			r, _ := newMove(t, old, pipeline.OrderingKey, pass)
			r.start(t)
			failed := <-r.Failed()
			require.ErrorIs(t, failed, err)
			require.Equal(t, missing, strings.Contains(failed.Error(), "name the broker that the topic was on"), failed)
		}
	})
}
