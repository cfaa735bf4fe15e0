package kafkabroker

import (
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

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
			m.trouble("consuming", err)
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
