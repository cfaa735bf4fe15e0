package kafkabroker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

// kafkaBrokers returns the address of the real Kafka that `make brokers`
// brought up. Without one the tests of a real server fail, unless -short.
func kafkaBrokers(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("KAFKA_BROKERS"); addr != "" {
		return addr
	}
	if testing.Short() {
		t.Skip("-short: no real Kafka")
	}
	require.FailNow(t, "KAFKA_BROKERS is not set: run `make brokers` and source .local/brokers.env")
	return ""
}

func TestConformance(t *testing.T) {
	brokertest.Exercise(t, harness(kafkaBrokers(t)))
}

func harness(addr string) brokertest.Harness {
	at := cluster(addr)
	return brokertest.Harness{
		Features: brokertest.Features{
			Name: "kafka", Server: true, Log: true, Partitions: 4,
			MaxMessage: 2 << 20,
			TypedHeaders: map[string]any{
				"binary": []byte{0xff, 0x00, 0x80}, "text": []byte("plain"), "number": []byte{0, 0, 0, 42}, "empty": []byte{},
			},
		},
		Open:               at.open,
		Node:               newNode,
		Remove:             at.remove,
		Cut:                at.cut,
		Drifted:            func(topic pipeline.Topic) pipeline.Topic { topic.Partitions = 7; return topic },
		PublishRaw:         at.publishRaw,
		ReadRaw:            at.readRaw,
		PublishUndecodable: at.publishUndecodable,
		StockPublisher:     at.stockPublisher,
		StockSubscriber:    at.stockSubscriber,
	}
}

// cluster is what tests do to a Kafka behind the driver's back.
type cluster string

func (c cluster) open(t testing.TB, opts broker.Options) broker.Broker {
	b, err := Open(pipeline.Broker{Name: "main", Driver: pipeline.DriverKafka, URL: pipeline.Secret(c)}, opts)
	require.NoError(t, err)
	return b
}

func (c cluster) config() *sarama.Config {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	config.Metadata.AllowAutoTopicCreation = false
	return config
}

func (c cluster) admin(t testing.TB) sarama.ClusterAdmin {
	admin, err := sarama.NewClusterAdmin([]string{string(c)}, c.config())
	require.NoError(t, err)
	t.Cleanup(func() { _ = admin.Close() })
	return admin
}

// remove deletes topics and groups as far as they are there.
func (c cluster) remove(t testing.TB, topics []pipeline.Topic, subs []broker.Subscription) {
	admin, err := sarama.NewClusterAdmin([]string{string(c)}, c.config())
	require.NoError(t, err)
	defer admin.Close()
	for _, sub := range subs {
		_ = admin.DeleteConsumerGroup(sub.Name)
	}
	for _, topic := range topics {
		_ = admin.DeleteTopic(topic.Name)
	}
}

func (c cluster) cut(t testing.TB, sub broker.Subscription) {
	admin, err := sarama.NewClusterAdmin([]string{string(c)}, c.config())
	require.NoError(t, err)
	defer admin.Close()
	require.NoError(t, admin.DeleteTopic(sub.Topic.Name))
	require.Eventually(t, func() bool {
		return admin.CreateTopic(sub.Topic.Name, &sarama.TopicDetail{NumPartitions: 1, ReplicationFactor: 1}, false) == nil
	}, 30*time.Second, 50*time.Millisecond)
}

// produce sends records as a program without Waybill or Watermill does.
func (c cluster) produce(t testing.TB, records ...*sarama.ProducerMessage) {
	producer, err := sarama.NewSyncProducer([]string{string(c)}, c.config())
	require.NoError(t, err)
	defer producer.Close()
	require.NoError(t, producer.SendMessages(records))
}

func (c cluster) publishRaw(t testing.TB, topic pipeline.Topic, raw brokertest.Raw) {
	record := &sarama.ProducerMessage{Topic: topic.Name, Value: sarama.ByteEncoder(raw.Payload)}
	for name, value := range raw.Headers {
		record.Headers = append(record.Headers, sarama.RecordHeader{Key: []byte(name), Value: value.([]byte)})
	}
	c.produce(t, record)
}

func (c cluster) publishUndecodable(t testing.TB, topic pipeline.Topic, payload []byte) {
	c.produce(t, &sarama.ProducerMessage{
		Topic: topic.Name, Key: sarama.ByteEncoder{0xff}, Value: sarama.ByteEncoder(payload),
		Headers: []sarama.RecordHeader{{Key: []byte{0xfe}, Value: nil}, {Key: []byte(headerID), Value: []byte{0xff}}},
	})
}

func (c cluster) readRaw(t testing.TB, sub broker.Subscription) brokertest.Raw {
	record := c.read(t, sub.Topic.Name, 1)[0]
	raw := brokertest.Raw{Payload: record.Value, Headers: make(map[string]any)}
	for _, h := range record.Headers {
		raw.Headers[string(h.Key)] = h.Value
	}
	return raw
}

// read returns the first n records of the topic, partition by partition, as
// they come.
func (c cluster) read(t testing.TB, topic string, n int) []*sarama.ConsumerMessage {
	consumer, err := sarama.NewConsumer([]string{string(c)}, c.config())
	require.NoError(t, err)
	defer consumer.Close()
	partitions, err := consumer.Partitions(topic)
	require.NoError(t, err)
	all := make(chan *sarama.ConsumerMessage)
	stop := make(chan struct{})
	defer close(stop)
	for _, p := range partitions {
		feed, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
		require.NoError(t, err)
		defer feed.AsyncClose()
		go func() {
			for record := range feed.Messages() {
				select {
				case all <- record:
				case <-stop:
				}
			}
		}()
	}
	var records []*sarama.ConsumerMessage
	for len(records) < n {
		select {
		case record := <-all:
			records = append(records, record)
		case <-time.After(30 * time.Second):
			require.FailNow(t, "too few records", "%d of %d", len(records), n)
		}
	}
	return records
}

func (c cluster) stockPublisher(t testing.TB, _ pipeline.Topic) message.Publisher {
	pub, err := wmkafka.NewPublisher(wmkafka.PublisherConfig{
		Brokers: []string{string(c)}, Marshaler: wmkafka.DefaultMarshaler{},
	}, watermill.NopLogger{})
	require.NoError(t, err)
	return pub
}

func (c cluster) stockSubscriber(t testing.TB, sub broker.Subscription) message.Subscriber {
	config := wmkafka.DefaultSaramaSubscriberConfig()
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	s, err := wmkafka.NewSubscriber(wmkafka.SubscriberConfig{
		Brokers: []string{string(c)}, Unmarshaler: wmkafka.DefaultMarshaler{},
		ConsumerGroup: sub.Name + ".stock", OverwriteSaramaConfig: config,
	}, watermill.NopLogger{})
	require.NoError(t, err)
	return s
}

// newNode returns a Kafka of its own, for tests to kill.
func newNode(t testing.TB) *brokertest.Node {
	_, addr, dir := privateNode(t)
	return &brokertest.Node{
		Open:           cluster(addr).open,
		Start:          func(t testing.TB) { runNode(t, "start", dir, addr) },
		Kill:           func(t testing.TB) { runNode(t, "kill", dir, addr) },
		Freeze:         func(t testing.TB) { signalNode(t, dir, syscall.SIGSTOP) },
		Thaw:           func(t testing.TB) { signalNode(t, dir, syscall.SIGCONT) },
		RestartCommand: []string{"sh", "-c", fmt.Sprintf("%[1]s kafka kill %[2]s && %[1]s kafka start %[2]s", nodeScript(t), dir)},
	}
}

// privateNode prepares a node and has it killed when the test ends.
func privateNode(t testing.TB) (cluster, string, string) {
	if testing.Short() {
		t.Skip("-short: no real Kafka")
	}
	dir := t.TempDir()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := l.Addr().String()
	require.NoError(t, l.Close())
	t.Cleanup(func() {
		if pid := nodePID(dir); pid > 0 {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
		runNode(t, "kill", dir, addr)
	})
	return cluster(addr), addr, dir
}

func nodeScript(t testing.TB) string {
	script, err := filepath.Abs("../../../deploy/local/node")
	require.NoError(t, err)
	return script
}

func runNode(t testing.TB, verb, dir, addr string) {
	_, port, err := net.SplitHostPort(addr)
	require.NoError(t, err)
	args := []string{"kafka", verb, dir}
	if verb == "start" {
		args = append(args, port)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, nodeScript(t), args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = time.Second
	if err := cmd.Run(); err != nil && verb == "start" {
		require.NoError(t, err, out.String())
	}
}

func nodePID(dir string) int {
	text, err := os.ReadFile(filepath.Join(dir, "pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

func signalNode(t testing.TB, dir string, sig syscall.Signal) {
	require.NoError(t, syscall.Kill(nodePID(dir), sig))
}

// bench is a real Kafka with a topic and a subscription of one test.
type bench struct {
	testing.TB
	cluster
	topic pipeline.Topic
	sub   broker.Subscription
}

func newBench(t testing.TB, c cluster, partitions int, set ...func(*broker.Subscription)) *bench {
	topic := pipeline.Topic{Name: "kb-" + uuid.NewString()[:8], Partitions: partitions, Provision: pipeline.ProvisionCreate}
	b := &bench{TB: t, cluster: c, topic: topic, sub: broker.Subscription{
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
func (b *bench) start(instance string) *Broker {
	driver := b.open(b, broker.Options{Instance: instance, Log: quiet(), Topic: func(name string) (pipeline.Topic, bool) {
		return b.topic, name == b.topic.Name
	}})
	b.Cleanup(func() { _ = driver.Close() })
	return driver.(*Broker)
}

// consume subscribes; every message goes to handle in a goroutine of its own.
func (b *bench) consume(driver *Broker, handle func(*message.Message)) *broker.Subscriber {
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

func (b *bench) publish(driver *Broker, from, to int, key func(int) string) {
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

func (b *bench) eventually(ok func() bool, what string) {
	require.Eventually(b, ok, 60*time.Second, 5*time.Millisecond, what)
}

func quiet() *slog.Logger {
	if testing.Verbose() {
		return slog.Default()
	}
	return slog.New(slog.DiscardHandler)
}
