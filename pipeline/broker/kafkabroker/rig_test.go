package kafkabroker

import (
	"context"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// rig is a real Kafka with a topic and a subscription of one test.
type rig struct {
	testing.TB
	cluster
	topic pipeline.Topic
	sub   broker.Subscription
}

func newRig(t testing.TB, c cluster, partitions int, set ...func(*broker.Subscription)) *rig {
	topic := pipeline.Topic{Name: "kb-" + uuid.NewString()[:8], Partitions: partitions, Provision: pipeline.ProvisionCreate}
	b := &rig{TB: t, cluster: c, topic: topic, sub: broker.Subscription{
		Name: topic.Name + ".h", Handler: "h", Topic: topic, Ordering: pipeline.OrderingNone, Concurrency: 16, InFlight: 128,
	}}
	for _, s := range set {
		s(&b.sub)
	}
	b.topic = b.sub.Topic
	driver := b.start("provisioner")
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	require.NoError(t, driver.Provision(ctx, []pipeline.Topic{b.topic}, []broker.Subscription{b.sub}))
	require.NoError(t, driver.Close())
	t.Cleanup(func() { c.remove(t, []pipeline.Topic{b.topic}, []broker.Subscription{b.sub}) })
	return b
}

// start opens the driver as the process of that instance name.
func (b *rig) start(instance string) *Broker {
	driver := b.open(b, broker.Options{Instance: instance, Log: quiet(), Topic: func(name string) (pipeline.Topic, bool) {
		return b.topic, name == b.topic.Name
	}})
	b.Cleanup(func() { _ = driver.Close() })
	return driver.(*Broker)
}

// consume subscribes; every message goes to handle in a goroutine of its own.
func (b *rig) consume(driver *Broker, handle func(*message.Message)) *broker.Subscriber {
	s := broker.NewSubscriber(b.sub, driver.Source(b.sub), quiet())
	messages, err := s.Subscribe(context.Background(), b.topic.Name)
	require.NoError(b, err)
	b.Cleanup(func() { _ = s.Close() })
	go func() {
		for msg := range messages {
			go handle(msg)
		}
	}()
	return s
}

func (b *rig) publish(driver *Broker, from, to int, key func(int) string) {
	var msgs []*message.Message
	for n := from; n < to; n++ {
		msg := message.NewMessage(strconv.Itoa(n), []byte(`{"n":`+strconv.Itoa(n)+`}`))
		if key != nil {
			msg.Metadata.Set(pipeline.MetaPartitionKey, key(n))
		}
		msgs = append(msgs, msg)
	}
	require.NoError(b, driver.Publisher().Publish(b.topic.Name, msgs...))
}

func (b *rig) eventually(ok func() bool, what string) {
	require.Eventually(b, ok, 60*time.Second, 5*time.Millisecond, what)
}

func quiet() *slog.Logger {
	if testing.Verbose() {
		return slog.Default()
	}
	return slog.New(slog.DiscardHandler)
}

// receive takes a value that must come.
func receive[T any](t testing.TB, from <-chan T) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(30 * time.Second):
		require.FailNow(t, "never came")
		panic("not reached")
	}
}
