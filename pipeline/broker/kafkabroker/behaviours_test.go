package kafkabroker

import (
	"context"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Rows of docs/behaviours.md as Kafka shows them.
//
//nolint:paralleltest // the first two want nothing of the cluster, the others share it in turn
func TestBehaviours(t *testing.T) {
	t.Parallel()
	c := cluster(kafkaBrokers(t))

	t.Run("0-04 host and port are all that a connection needs", func(t *testing.T) {
		b, err := Open(pipeline.Broker{URL: pipeline.Secret(c)}, options())
		require.NoError(t, err)
		defer b.Close()
		require.Eventually(t, func() bool { return b.Health().OK() }, 10*time.Second, 5*time.Millisecond)
	})
	t.Run("0-06 an address without a port is refused before connecting", func(t *testing.T) {
		_, err := Open(pipeline.Broker{Name: "main", URL: "kafka-1"}, options())
		require.ErrorContains(t, err, "url")
	})
	t.Run("0-10 each message is handled by exactly one handler", func(t *testing.T) {
		b := newRig(t, c, 2)
		driver := b.start("c")
		b.publish(driver, 0, 50, key)
		runs := newCounter()
		s := b.consume(driver, runs.ack)
		b.eventually(func() bool { return runs.different() == 50 }, "all are handled")
		drained(t, s)
		require.Equal(t, 50, runs.total())
	})
	t.Run("0-12 a message that was not acknowledged is kept", func(t *testing.T) {
		b := newRig(t, c, 1)
		driver := b.start("c")
		b.publish(driver, 0, 1, nil)
		began := make(chan struct{})
		s := b.consume(driver, func(msg *message.Message) { close(began); <-msg.Context().Done() })
		<-began
		require.NoError(t, s.Close())
		runs := newCounter()
		b.consume(driver, runs.ack)
		b.eventually(func() bool { return runs.different() == 1 }, "it comes again")
	})
	t.Run("0-W2 a publish returns once the broker has confirmed it", func(t *testing.T) {
		b := newRig(t, c, 1)
		driver := b.start("p")
		b.publish(driver, 0, 10, nil)
		end, err := driver.offsetAt(b.topic.Name, 0, sarama.OffsetNewest)
		require.NoError(t, err)
		require.EqualValues(t, 10, end)
	})
	t.Run("0-W3 metadata travels with the message", func(t *testing.T) {
		msg := message.NewMessage("1", []byte("{}"))
		msg.Metadata = message.Metadata{pipeline.MetaCorrelationID: "c-1", pipeline.MetaTraceParent: "00-1-2-01"}
		require.Equal(t, msg.Metadata, throughKafka(t, c, msg).Metadata)
	})
	t.Run("0-D38 content type and encoding are passed on", func(t *testing.T) {
		msg := message.NewMessage("1", []byte("{}"))
		msg.Metadata = message.Metadata{pipeline.MetaContentType: "application/json; charset=utf-8", "content-encoding": "gzip"}
		require.Equal(t, msg.Metadata, throughKafka(t, c, msg).Metadata)
	})
	t.Run("2-10 what waits returns to zero", func(t *testing.T) {
		b := newRig(t, c, 2)
		driver := b.start("c")
		b.publish(driver, 0, 20, key)
		require.EqualValues(t, 20, b.status(driver).Ready)
		b.consume(driver, newCounter().ack)
		b.eventually(func() bool { return b.status(driver).Ready == 0 }, "nothing waits")
	})
	t.Run("2-11 a consumer is listed, with its user", func(t *testing.T) {
		b := newRig(t, c, 2)
		driver := b.start("c")
		require.Zero(t, b.status(driver).Consumers)
		b.consume(driver, newCounter().ack)
		b.eventually(func() bool { return b.status(driver).Consumers == 1 }, "one reads")
	})
	t.Run("2-13 several instances share the work", func(t *testing.T) {
		b := newRig(t, c, 4)
		one, two := b.start("one"), b.start("two")
		ones, twos := newCounter(), newCounter()
		b.consume(one, ones.ack)
		b.consume(two, twos.ack)
		n := 0
		b.eventually(func() bool {
			b.publish(one, n, n+8, key)
			n += 8
			return ones.different() > 0 && twos.different() > 0
		}, "both get some")
		b.eventually(func() bool { return ones.different()+twos.different() >= n }, "together they get all")
	})
	t.Run("2-19 a bare message without headers is processed", func(t *testing.T) {
		b := newRig(t, c, 1)
		c.produce(t, &sarama.ProducerMessage{Topic: b.topic.Name, Value: sarama.StringEncoder(`{"orderId":"1"}`)})
		got := make(chan *message.Message, 1)
		b.consume(b.start("c"), func(msg *message.Message) { msg.Ack(); got <- msg })
		msg := receive(t, got)
		require.Equal(t, b.topic.Name+"/0/0", msg.UUID)
		require.Equal(t, `{"orderId":"1"}`, string(msg.Payload))
	})
	t.Run("2-30 topic, members, lag and drift are told", func(t *testing.T) {
		b := newRig(t, c, 2)
		driver := b.start("c")
		b.publish(driver, 0, 3, key)
		drifted := b.sub
		drifted.Topic.Partitions = 3
		ctx, cancel := contextFor(20 * time.Second)
		defer cancel()
		missing := pipeline.Topic{Name: b.topic.Name + "-missing"}
		rows, err := driver.Inspect(ctx, []pipeline.Topic{b.topic, missing}, []broker.Subscription{drifted})
		require.NoError(t, err)
		require.Len(t, rows, 2)
		require.EqualValues(t, 3, rows[0].Ready)
		require.Contains(t, rows[0].Bindings[0], "partitions 2")
		require.Contains(t, strings.Join(rows[0].Problems, " "), "has partitions 2, the config wants 3")
		require.EqualValues(t, -1, rows[1].Ready)
		require.Contains(t, rows[1].Problems[0], "is not there")
	})
	t.Run("2-W1 a topic that is not there is an error, not a loss", func(t *testing.T) {
		b := newRig(t, c, 1)
		b.topic.Name += "-missing"
		err := b.start("p").Publisher().Publish(b.topic.Name, message.NewMessage("1", nil))
		require.Equal(t, pipeline.ReasonUnroutable, pipeline.ReasonOf(err))
	})
	t.Run("2-W9 how many are in flight is a setting", func(t *testing.T) {
		b := newRig(t, c, 1, func(s *broker.Subscription) { s.Concurrency, s.InFlight = 3, 7 })
		driver := b.start("c")
		b.publish(driver, 0, 30, nil)
		var running atomic.Int64
		release := make(chan struct{})
		s := b.consume(driver, func(msg *message.Message) { running.Add(1); <-release; msg.Ack() })
		b.eventually(func() bool { return running.Load() == 3 && s.InFlight() == 7 }, "three run, seven are taken")
		close(release)
		b.eventually(func() bool { return running.Load() == 30 }, "all are handled")
	})
}

// Dead letters are kept for ever, in one partition, unless the config says
// otherwise.
func TestProvision_DeadLettersAreKept(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1)
	driver := b.start("c")
	dead := pipeline.Topic{Name: b.sub.Name + ".dlq", Provision: pipeline.ProvisionCreate, DeadLetter: true}
	aged := pipeline.Topic{
		Name: b.topic.Name + ".aged", Provision: pipeline.ProvisionCreate, Partitions: 3, Replicas: 1,
		Retention: pipeline.Retention{Age: time.Hour, Bytes: 1 << 30}, MaxMessage: 3 << 20,
	}
	topics := []pipeline.Topic{dead, aged}
	defer b.remove(t, topics, nil)
	ctx, cancel := contextFor(20 * time.Second)
	defer cancel()
	require.NoError(t, driver.Provision(ctx, topics, nil))
	found, err := driver.lookUp(ctx, dead.Name)
	require.NoError(t, err)
	require.Equal(t, 1, found.partitions)
	require.Equal(t, "-1", found.settings[settingRetentionAge])
	require.Equal(t, "-1", found.settings[settingRetentionBytes])
	found, err = driver.lookUp(ctx, aged.Name)
	require.NoError(t, err)
	require.Equal(t, 3, found.partitions)
	require.Equal(t, "3600000", found.settings[settingRetentionAge])
	require.Equal(t, "1073741824", found.settings[settingRetentionBytes])
	require.Empty(t, found.drift(aged))

	aged.Provision, aged.Retention.Age, aged.Replicas = pipeline.ProvisionVerify, 2*time.Hour, 2
	err = driver.Provision(ctx, []pipeline.Topic{aged}, nil)
	require.ErrorContains(t, err, "retention.ms 3600000, the config wants 7200000")
	require.ErrorContains(t, err, "replicas 1, the config wants 2")
}

// throughKafka publishes a message and returns it as it is consumed.
func throughKafka(t *testing.T, c cluster, msg *message.Message) *message.Message {
	b := newRig(t, c, 1)
	driver := b.start("c")
	require.NoError(t, driver.Publisher().Publish(b.topic.Name, msg))
	got := make(chan *message.Message, 1)
	b.consume(driver, func(msg *message.Message) { msg.Ack(); got <- msg })
	return receive(t, got)
}

func (b *rig) status(driver *Broker) broker.Status {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	rows, err := driver.Inspect(ctx, nil, []broker.Subscription{b.sub})
	require.NoError(b, err)
	require.Len(b, rows, 1)
	return rows[0]
}

// counter counts runs by id.
type counter struct {
	mu   sync.Mutex
	runs map[string]int
}

func newCounter() *counter { return &counter{runs: make(map[string]int)} }

func (c *counter) ack(msg *message.Message) {
	c.mu.Lock()
	c.runs[msg.UUID]++
	c.mu.Unlock()
	msg.Ack()
}

func (c *counter) different() int { c.mu.Lock(); defer c.mu.Unlock(); return len(c.runs) }

func (c *counter) total() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	total := 0
	for _, n := range c.runs {
		total += n
	}
	return total
}
