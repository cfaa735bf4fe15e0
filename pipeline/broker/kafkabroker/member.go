package kafkabroker

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

// lastWords is how long a subscription that is told to let go of everything
// may take to commit what is done and to say goodbye.
const lastWords = 2 * time.Second

// member is one run of a source.
type member struct {
	*source
	w         *broker.Window
	hard      context.Context // ends when everything is to be let go of
	intake    context.Context // ends, with hard or before, when nothing more is to be taken
	committer committer

	mu      sync.Mutex
	last    membership    // of the latest session; nil: there was none
	working int           // partitions that are ours
	settled chan struct{} // holds a token when working may have become 0
	unsaved map[int32]unsaved
	told    told
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
		m.trouble("not in the consumer group; joining again", cmp.Or(err, errSession))
		sleep(m.intake, pause.NextBackOff())
	}
	m.sayGoodbye()
	return nil
}

// errSession stands for what sarama keeps to itself.
var errSession = errors.New("the session with the group's coordinator has ended")

// trouble tells of an error that goes away by itself, in the end. That another
// process goes under this one's name does not.
func (m *member) trouble(what string, err error) {
	m.told.warn(m.log, what, err)
	if errors.Is(err, sarama.ErrFencedInstancedId) && m.told.news("fenced") {
		m.b.health.incident(fmt.Sprintf("group %s: another process has joined as instance %q and taken this one's place; "+
			"give each process an instance of its own", m.sub.Name, m.committer.instance))
	}
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

// remember keeps what could not be committed of a partition.
func (m *member) remember(partition int32, u unsaved) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.unsaved[partition] = u
}

// recall returns what remember kept, once.
func (m *member) recall(partition int32) (u unsaved, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	u, ok = m.unsaved[partition]
	delete(m.unsaved, partition)
	return u, ok
}

// idle reports whether no partition is ours.
func (m *member) idle() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.working == 0
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
	ctx, cancel := context.WithTimeout(context.WithoutCancel(m.hard), lastWords)
	defer cancel()
	err := m.b.ask(ctx, func() error { return m.committer.leave(as) })
	if err != nil && !errors.Is(err, sarama.ErrUnknownMemberId) {
		m.log.Warn("the group learns only from the session's end that this member has left", "error", err)
	}
}
