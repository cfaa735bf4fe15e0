package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

// lastWords is how long a subscription that is told to let go of everything
// may take to commit what is done and to say goodbye.
const lastWords = 2 * time.Second

// source is a subscription's member of its consumer group, which is named as
// the subscription is.
type source struct {
	b   *Broker
	sub broker.Subscription
	log *slog.Logger
}

// Run is a group member until the window drains or ctx is done. See
// broker.Source.
func (s *source) Run(ctx context.Context, w *broker.Window) error {
	instance, free := s.b.member(s.sub)
	defer free()
	m := &member{
		source: s, w: w, hard: ctx, settled: make(chan struct{}, 1),
		committer: committer{b: s.b, group: s.sub.Name, instance: instance, topic: s.sub.Topic.Name},
	}
	var stop context.CancelFunc
	m.intake, stop = context.WithCancel(ctx)
	var waiting sync.WaitGroup
	waiting.Go(func() {
		select {
		case <-w.Draining():
		case <-m.intake.Done():
		}
		stop()
	})
	defer waiting.Wait()
	defer stop()
	return m.run()
}

// member is one run of a source.
type member struct {
	*source
	w         *broker.Window
	hard      context.Context // ends when everything is to be let go of
	intake    context.Context // ends, with hard or before, when nothing more is to be taken
	committer committer

	mu      sync.Mutex
	last    membership // of the latest session; nil: there was none
	working int        // partitions that are ours
	settled chan struct{}
}

// run joins the group, and again whenever that has failed.
func (m *member) run() error {
	life, end := outlast(m.hard, lastWords)
	defer end()
	group, closeGroup, err := m.newGroup(life)
	if err != nil {
		return fmt.Errorf("join group %s: %w", m.sub.Name, err)
	}
	defer closeGroup()
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 50*time.Millisecond, time.Second
	for m.intake.Err() == nil {
		began := time.Now()
		err := m.join(group)
		if m.intake.Err() != nil {
			break
		}
		if time.Since(began) > 10*pause.MaxInterval {
			pause.Reset()
		}
		m.log.Warn("not in the consumer group; joining again", "error", err)
		sleep(m.intake, pause.NextBackOff())
	}
	m.sayGoodbye()
	return nil
}

// join is a member for as long as one session lasts.
func (m *member) join(group sarama.ConsumerGroup) error {
	if err := m.b.begin(m.intake, m.sub); err != nil {
		return err
	}
	return group.Consume(m.intake, []string{m.sub.Topic.Name}, &session{member: m, group: group})
}

// count says that a partition has become ours, or is so no more.
func (m *member) count(change int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.working += change; m.working == 0 {
		select {
		case m.settled <- struct{}{}:
		default:
		}
	}
}

// idle reports whether no partition is ours.
func (m *member) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.working == 0
}

// cutWhenIdle cuts the connections once nothing more is to be taken and every
// partition is settled: sarama may still be joining, which takes until all
// other members have, and knows no context.
func (m *member) cutWhenIdle(ended <-chan struct{}, links ...*link) {
	select {
	case <-m.intake.Done():
	case <-ended:
		return
	}
	for !m.idle() {
		select {
		case <-m.settled:
		case <-ended:
			return
		}
	}
	timer := time.NewTimer(lastWords / 2)
	defer timer.Stop()
	select {
	case <-timer.C:
		for _, l := range links {
			l.cut()
		}
	case <-ended:
	}
}

// newGroup returns sarama's group member. Fetches and the group's protocol
// have a connection each: a fetch waits for messages and a join for the other
// members, and neither may hold up the other.
func (m *member) newGroup(ctx context.Context) (sarama.ConsumerGroup, func(), error) {
	instance := m.committer.instance
	fetching, err := m.b.newLink(ctx, forGroup(instance))
	if err != nil {
		return nil, nil, err
	}
	joining, err := m.b.newLink(ctx, forGroup(instance), forJoin)
	if err != nil {
		fetching.close()
		return nil, nil, err
	}
	group, err := sarama.NewConsumerGroupFromClient(m.sub.Name, groupClient{fetching, joining})
	if err != nil {
		fetching.close()
		joining.close()
		return nil, nil, err
	}
	var work sync.WaitGroup
	ended := make(chan struct{})
	work.Go(func() { m.cutWhenIdle(ended, fetching, joining) })
	work.Go(func() {
		for err := range group.Errors() {
			m.log.Warn("consuming", "error", err)
		}
	})
	return group, func() {
		close(ended)
		// With an instance name Close says nothing to Kafka, and without one
		// sayGoodbye has said it. Cut off, it cannot wait for an answer.
		fetching.close()
		joining.close()
		_ = group.Close()
		work.Wait()
	}, nil
}

// groupClient sends what is for the group's coordinator over a connection of
// its own.
type groupClient struct {
	sarama.Client
	joining *link
}

// Coordinator returns the group's coordinator.
func (c groupClient) Coordinator(group string) (*sarama.Broker, error) {
	return c.joining.Coordinator(group)
}

// RefreshCoordinator looks for the group's coordinator anew.
func (c groupClient) RefreshCoordinator(group string) error {
	return c.joining.RefreshCoordinator(group)
}

// sayGoodbye leaves the group, so that others take over at once, and not when
// the session has ended. A restart then joins anew, which costs it nothing; a
// process that was killed joins under its name, in its old place.
func (m *member) sayGoodbye() {
	m.mu.Lock()
	as := m.last
	m.mu.Unlock()
	if as == nil {
		return
	}
	if err := m.b.within(m.hard, lastWords, func() error { return m.committer.leave(as) }); err != nil &&
		!errors.Is(err, sarama.ErrUnknownMemberId) {
		m.log.Warn("the group learns only from the session's end that this member has left", "error", err)
	}
}
