package brokertest

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// fixture is a testing.TB with brokers, topics and consumers of one test.
// Everything is closed and removed when the test ends.
type fixture struct {
	testing.TB
	h        Harness
	patience time.Duration // how long to wait for what must happen
	prefix   string        // begins the names of topics and instances

	mu     sync.Mutex
	topics map[string]pipeline.Topic
	subs   []broker.Subscription
	opened int
}

// metaSeq is the metadata key of a message's number in its topic.
const metaSeq = "seq"

func newFixture(t testing.TB, h Harness) *fixture {
	f := &fixture{
		TB: t, h: h, patience: 45 * time.Second,
		prefix: strings.ToLower(h.Features.Name + "-" + uuid.NewString()[:8]),
		topics: make(map[string]pipeline.Topic),
	}
	if h.Remove != nil {
		t.Cleanup(func() {
			f.mu.Lock()
			defer f.mu.Unlock()
			var topics []pipeline.Topic
			for _, topic := range f.topics {
				topics = append(topics, topic)
			}
			h.Remove(t, topics, f.subs)
		})
	}
	return f
}

// open returns a broker as a new process has it.
func (f *fixture) open() broker.Broker { return f.openAs("") }

// openAs is open for the process of that instance name; "": a new one.
func (f *fixture) openAs(instance string) broker.Broker { return f.openWith(f.h.Open, instance) }

func (f *fixture) openWith(open func(testing.TB, broker.Options) broker.Broker, instance string) broker.Broker {
	f.mu.Lock()
	f.opened++
	if instance == "" {
		instance = fmt.Sprintf("%s-i%d", f.prefix, f.opened)
	}
	f.mu.Unlock()
	b := open(f, broker.Options{Instance: instance, Topic: f.lookup, Log: quiet()})
	f.Cleanup(func() { _ = b.Close() })
	return b
}

func (f *fixture) lookup(name string) (pipeline.Topic, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	topic, ok := f.topics[name]
	return topic, ok
}

// topic makes up a topic, which Options.Topic knows from then on, with one
// partition unless set. It does not touch the broker.
func (f *fixture) topic(settings ...func(*pipeline.Topic)) pipeline.Topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	topic := pipeline.Topic{
		Name:       fmt.Sprintf("%s-t%d", f.prefix, len(f.topics)),
		Broker:     f.h.Features.Name,
		Partitions: 1,
		Provision:  pipeline.ProvisionCreate,
	}
	for _, set := range settings {
		set(&topic)
	}
	if topic.Partitions == 1 && f.h.Features.Partitions == 0 {
		topic.Partitions = 0 // the broker has none to count
	}
	f.topics[topic.Name] = topic
	return topic
}

// partitioned is a setting for topic: as many partitions as the broker's
// features say.
func (f *fixture) partitioned(topic *pipeline.Topic) { topic.Partitions = f.h.Features.Partitions }

// subscription makes up a subscription of the topic, unordered and 32 wide
// unless set. It does not touch the broker.
func (f *fixture) subscription(topic pipeline.Topic, settings ...func(*broker.Subscription)) broker.Subscription {
	f.mu.Lock()
	defer f.mu.Unlock()
	sub := broker.Subscription{
		Handler:     fmt.Sprintf("h%d", len(f.subs)),
		Topic:       topic,
		Ordering:    pipeline.OrderingNone,
		Concurrency: 32,
		Instance:    f.prefix,
	}
	sub.Name = topic.Name + "." + sub.Handler
	for _, set := range settings {
		set(&sub)
	}
	if sub.InFlight == 0 {
		sub.InFlight = 8 * sub.Concurrency
	}
	f.subs = append(f.subs, sub)
	return sub
}

// ordered is a setting for subscription.
func ordered(by pipeline.Ordering, concurrency int) func(*broker.Subscription) {
	return func(s *broker.Subscription) { s.Ordering, s.Concurrency = by, concurrency }
}

// provision makes the subscriptions and their topics exist.
func (f *fixture) provision(b broker.Broker, subs ...broker.Subscription) {
	f.Helper()
	var topics []pipeline.Topic
	for _, sub := range subs {
		topics = append(topics, sub.Topic)
	}
	f.provisionTopics(b, topics, subs...)
}

func (f *fixture) provisionTopics(b broker.Broker, topics []pipeline.Topic, subs ...broker.Subscription) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	require.NoError(f, b.Provision(ctx, topics, subs))
}

// ready is what most tests begin with: a broker, a topic with one
// subscription, both provisioned.
func (f *fixture) ready(settings ...func(*broker.Subscription)) (broker.Broker, broker.Subscription) {
	f.Helper()
	b := f.open()
	sub := f.subscription(f.topic(), settings...)
	f.provision(b, sub)
	return b, sub
}

// message makes the n-th message of a topic, with an id that says so.
func (f *fixture) message(topic pipeline.Topic, n int, key string) *message.Message {
	seq := strconv.Itoa(n)
	msg := message.NewMessage(topic.Name+"/"+seq, []byte(`{"seq":`+seq+`}`))
	msg.Metadata.Set(metaSeq, seq)
	if key != "" {
		msg.Metadata.Set(pipeline.MetaPartitionKey, key)
	}
	return msg
}

// messages makes the messages from up to, not with, to, dealt out to keys in
// turn; keys 0: none has a key.
func (f *fixture) messages(topic pipeline.Topic, from, to, keys int) []*message.Message {
	msgs := make([]*message.Message, 0, to-from)
	for n := from; n < to; n++ {
		key := ""
		if keys > 0 {
			key = "k" + strconv.Itoa(n%keys)
		}
		msgs = append(msgs, f.message(topic, n, key))
	}
	return msgs
}

// publish publishes and requires that all are confirmed.
func (f *fixture) publish(b broker.Broker, topic pipeline.Topic, msgs ...*message.Message) {
	f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	for _, msg := range msgs {
		msg.SetContext(ctx)
	}
	require.NoError(f, b.Publisher().Publish(topic.Name, msgs...))
}

// publishErrors publishes and returns the error of each message.
func (f *fixture) publishErrors(b broker.Broker, topic string, msgs ...*message.Message) []error {
	f.Helper()
	var err error
	f.inTime("Publish", func() { err = b.Publisher().Publish(topic, msgs...) })
	if err == nil {
		return make([]error, len(msgs))
	}
	var failed *broker.PublishError
	require.ErrorAs(f, err, &failed)
	require.Len(f, failed.Errs, len(msgs), "one entry a message")
	return failed.Errs
}

// eventually waits until ok holds, and fails the test after a generous time.
func (f *fixture) eventually(ok func() bool, what string, args ...any) {
	f.Helper()
	for end := time.Now().Add(f.patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			require.FailNow(f, "never came true: "+fmt.Sprintf(what, args...))
		}
	}
}

// inTime runs do, and fails the test if it does not return in a generous time.
func (f *fixture) inTime(what string, do func()) {
	f.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		do()
	}()
	select {
	case <-done:
	case <-time.After(f.patience):
		require.FailNow(f, "never returned: "+what)
	}
}

// closed closes b in time.
func (f *fixture) closed(b broker.Broker) {
	f.Helper()
	f.inTime("Broker.Close", func() { _ = b.Close() })
}

func quiet() *slog.Logger {
	if testing.Verbose() {
		return slog.Default()
	}
	return slog.New(slog.DiscardHandler)
}
