package peer

import (
	"context"

	"github.com/ThreeDotsLabs/watermill"
	"github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp091 "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// tunedHandlers is how many handlers, and channels in the publisher's pool,
// made the published adapter fastest on RabbitMQ. A handler is a consumer, so
// the order of the queue is lost.
const tunedHandlers = 256

// stockRabbit is watermill-amqp with its durable queue config. Confirms are
// on, which they are not by default: without them it would not do the job.
func stockRabbit(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) error {
	config := amqp.NewDurableQueueConfig(spec.URL)
	config.Publish.ConfirmDelivery = true
	if spec.Variant == "quorum" {
		config.Queue.Arguments = amqp091.Table{"x-queue-type": "quorum"}
	}
	s := stock{handlers: 1}
	if spec.Impl == job.StockTuned {
		s.handlers = tunedHandlers
		config.Publish.ChannelPoolSize = tunedHandlers
		config.Consume.Qos.PrefetchCount = 10
	}
	s.open = func() (message.Subscriber, message.Publisher, error) {
		sub, err := amqp.NewSubscriber(config, watermill.NopLogger{})
		if err != nil {
			return nil, nil, err
		}
		pub, err := amqp.NewPublisher(config, watermill.NopLogger{})
		if err != nil {
			_ = sub.Close()
			return nil, nil, err
		}
		return sub, pub, nil
	}
	return s.run(ctx, spec, prepare)
}
