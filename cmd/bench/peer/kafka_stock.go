package peer

import (
	"context"
	"strings"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// tunedMembers is how many subscribers, each with a publisher of its own, made
// the published adapter fastest on Kafka, of 1, 2 and 4.
const tunedMembers = 4

// stockKafka is watermill-kafka as it comes, but for what it would not do the
// job without: reading from the oldest message, acks=all, and keys.
func stockKafka(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) error {
	in := kafka.DefaultSaramaSubscriberConfig()
	in.Consumer.Offsets.Initial = sarama.OffsetOldest
	out := kafka.DefaultSaramaSyncPublisherConfig()
	out.Producer.RequiredAcks = sarama.WaitForAll
	s := stock{handlers: 1}
	if spec.Impl == job.StockTuned {
		tuneKafka(in, out)
		s.handlers, s.each = min(spec.Partitions, tunedMembers), true
	}
	addrs := strings.Split(spec.URL, ",")
	wire := kafka.NewWithPartitioningMarshaler(func(_ string, msg *message.Message) (string, error) {
		return msg.Metadata.Get(job.KeyHeader), nil
	})
	s.open = func() (message.Subscriber, message.Publisher, error) {
		sub, err := kafka.NewSubscriber(kafka.SubscriberConfig{
			Brokers: addrs, ConsumerGroup: spec.Group, Unmarshaler: wire, OverwriteSaramaConfig: in,
		}, watermill.NopLogger{})
		if err != nil {
			return nil, nil, err
		}
		pub, err := kafka.NewPublisher(kafka.PublisherConfig{
			Brokers: addrs, Marshaler: wire, OverwriteSaramaConfig: out,
		}, watermill.NopLogger{})
		if err != nil {
			_ = sub.Close()
			return nil, nil, err
		}
		return sub, pub, nil
	}
	return s.run(ctx, spec, prepare)
}

// tuneKafka sets what made the published adapter fastest. It has one message
// of a partition in flight whatever is set, and sends each in a request of its
// own, so there is little to gain but from more partitions.
func tuneKafka(in, out *sarama.Config) {
	in.Version, out.Version = sarama.V3_6_0_0, sarama.V3_6_0_0
	in.ChannelBufferSize = 1024
	in.Consumer.MaxProcessingTime = time.Second
	out.Net.MaxOpenRequests = 16
}
