package brokertest

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/ThreeDotsLabs/watermill/pubsub/tests"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// universal runs Watermill's own suite: unordered, and ordered by key.
func universal(t *testing.T, h Harness) {
	unordered := tests.Features{
		ConsumerGroups: true,
		Persistent:     true,
		ForceShort:     h.Features.ForceShort,
	}
	t.Run("Unordered", func(t *testing.T) { universalProfile(t, h, unordered, pipeline.OrderingNone) })

	byKey := unordered
	byKey.GuaranteedOrder = true
	// The suite's own sizes nack one message a hundred times: minutes, with a
	// pause that doubles. Waybill's guarantees test order with thousands.
	byKey.ForceShort = true
	t.Run("OrderedByKey", func(t *testing.T) { universalProfile(t, h, byKey, pipeline.OrderingKey) })

	if h.Features.Log {
		t.Run("NewSubscriberReceivesOldMessages", func(t *testing.T) {
			a := newAdapters(newFixture(t, h), pipeline.OrderingNone)
			features := unordered
			features.NewSubscriberReceivesOldMessages = true
			tests.TestNewSubscriberReceivesOldMessages(t,
				tests.TestContext{TestID: tests.NewTestID(), Features: features},
				func(t *testing.T) (message.Publisher, message.Subscriber) { return a.pubSub(t, uuid.NewString()) })
		})
	}
}

func universalProfile(t *testing.T, h Harness, features tests.Features, ordering pipeline.Ordering) {
	a := newAdapters(newFixture(t, h), ordering)
	tests.TestPubSub(t, features,
		func(t *testing.T) (message.Publisher, message.Subscriber) { return a.pubSub(t, "all") },
		a.pubSub)
}

// universalReconnect runs the one test of Watermill's suite that restarts the
// broker.
func universalReconnect(t *testing.T, h Harness, node *Node) {
	a := newAdapters(newFixture(t, h), pipeline.OrderingNone)
	tests.TestReconnect(t,
		tests.TestContext{
			TestID:   tests.NewTestID(),
			Features: tests.Features{Persistent: true, RestartServiceCommand: node.RestartCommand},
		},
		func(t *testing.T) (message.Publisher, message.Subscriber) { return a.pubSub(t, "all") })
}

// adapters make what Watermill's suite asks for: a publisher and a subscriber
// for topics that nobody has heard of before.
type adapters struct {
	f        *fixture
	ordering pipeline.Ordering
}

func newAdapters(f *fixture, ordering pipeline.Ordering) *adapters {
	return &adapters{f: f, ordering: ordering}
}

// pubSub opens a broker of its own for the pair.
func (a *adapters) pubSub(t *testing.T, group string) (message.Publisher, message.Subscriber) {
	b := a.f.open()
	s := &anySubscriber{a: a, b: b, group: group}
	t.Cleanup(func() {
		require.NoError(t, s.Close())
		require.NoError(t, b.Close())
	})
	return &anyPublisher{a: a, b: b}, s
}

// topic returns the topic of that name, which the broker's options know from
// then on.
func (a *adapters) topic(name string) pipeline.Topic {
	a.f.mu.Lock()
	defer a.f.mu.Unlock()
	if topic, ok := a.f.topics[name]; ok {
		return topic
	}
	topic := pipeline.Topic{
		Name: name, Broker: a.f.h.Features.Name,
		Partitions: a.f.h.Features.Partitions, Provision: pipeline.ProvisionCreate,
	}
	a.f.topics[name] = topic
	return topic
}

func (a *adapters) subscription(topic, group string) broker.Subscription {
	sub := broker.Subscription{
		Name: topic + "." + group, Handler: group, Topic: a.topic(topic),
		Ordering: a.ordering, Concurrency: 16, InFlight: 64, Instance: a.f.prefix,
	}
	a.f.mu.Lock()
	a.f.subs = append(a.f.subs, sub)
	a.f.mu.Unlock()
	return sub
}

// anyPublisher publishes to any topic. With ordering by key the payload is the
// key: the suite wants messages of the same payload in order.
type anyPublisher struct {
	a *adapters
	b broker.Broker
}

func (p *anyPublisher) Publish(topic string, msgs ...*message.Message) error {
	p.a.topic(topic)
	if p.a.ordering == pipeline.OrderingKey {
		keyed := make([]*message.Message, len(msgs))
		for i, msg := range msgs {
			keyed[i] = msg.Copy()
			keyed[i].Metadata.Set(pipeline.MetaPartitionKey, string(msg.Payload))
		}
		msgs = keyed
	}
	return p.b.Publisher().Publish(topic, msgs...)
}

// Close leaves the broker open, as its subscriber may still use it.
func (p *anyPublisher) Close() error { return p.b.Publisher().Close() }

// anySubscriber subscribes to any topic, any number of times.
type anySubscriber struct {
	a     *adapters
	b     broker.Broker
	group string

	mu   sync.Mutex
	subs []*broker.Subscriber
}

var _ message.SubscribeInitializer = (*anySubscriber)(nil)

func (s *anySubscriber) SubscribeInitialize(topic string) error {
	return s.provision(s.a.subscription(topic, s.group))
}

func (s *anySubscriber) provision(sub broker.Subscription) error {
	ctx, cancel := context.WithTimeout(context.Background(), s.a.f.patience)
	defer cancel()
	return s.b.Provision(ctx, []pipeline.Topic{sub.Topic}, []broker.Subscription{sub})
}

func (s *anySubscriber) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	sub := s.a.subscription(topic, s.group)
	if err := s.provision(sub); err != nil {
		return nil, err
	}
	subscriber := broker.NewSubscriber(sub, s.b.Source(sub), quiet())
	s.mu.Lock()
	s.subs = append(s.subs, subscriber)
	s.mu.Unlock()
	return subscriber.Subscribe(ctx, topic)
}

func (s *anySubscriber) Close() error {
	s.mu.Lock()
	subs := s.subs
	s.subs = nil
	s.mu.Unlock()
	errs := make([]error, len(subs))
	var wg sync.WaitGroup
	for i, sub := range subs {
		wg.Go(func() { errs[i] = sub.Close() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
