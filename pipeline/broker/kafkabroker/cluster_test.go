package kafkabroker

import (
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

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
