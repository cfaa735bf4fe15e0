package broker

import (
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/pipeline"
)

// SubscriptionOf is what a handler of the pipeline reads.
func SubscriptionOf(p pipeline.Pipeline, h pipeline.Handler) Subscription {
	return subscription(p, h, p.Topics[h.From])
}

// LeftoverOf is what a handler reads on the broker that its topic is moving
// away from; false: its topic is not moving.
func LeftoverOf(p pipeline.Pipeline, h pipeline.Handler) (Subscription, bool) {
	topic := p.Topics[h.From]
	sub := subscription(p, h, leftover(p, topic))
	sub.Leftover = topic.Draining != ""
	return sub, sub.Leftover
}

func subscription(p pipeline.Pipeline, h pipeline.Handler, topic pipeline.Topic) Subscription {
	return Subscription{
		Name:          h.Subscription(p.Brokers[topic.Broker].GroupPrefix),
		Handler:       h.Name,
		Topic:         topic,
		Ordering:      h.Ordering,
		Concurrency:   h.Concurrency,
		InFlight:      h.InFlight,
		InFlightBytes: h.InFlightBytes,
		Start:         h.Start,
		Instance:      p.Instance,
	}
}

// What the archiver takes of a dead-letter topic at a time: as many letters as
// share a transaction of the store, and as many again that wait for the next.
const (
	archiveBatch = 64
	archiveBytes = 64 << 20
)

// ArchiveOf is the archiver's subscription on a dead-letter topic.
func ArchiveOf(p pipeline.Pipeline, topic pipeline.Topic) Subscription {
	return Subscription{
		Name:          p.Brokers[topic.Broker].GroupPrefix + topic.Name + ".archiver",
		Handler:       "archiver",
		Topic:         topic,
		Ordering:      pipeline.OrderingNone,
		Concurrency:   2 * archiveBatch,
		InFlight:      2 * archiveBatch,
		InFlightBytes: archiveBytes,
		Instance:      p.Instance,
	}
}

// leftover is a topic as it is on the broker that it is moving away from.
// Nothing is made or deleted there any more. What does not matter to reading
// is left open, so that the config can say what the new broker is to have;
// RabbitMQ's queues follow from the partitions. The embedded broker deletes by
// itself what is over age, also where that is left open.
func leftover(p pipeline.Pipeline, topic pipeline.Topic) pipeline.Topic {
	topic.Broker, topic.Draining = topic.Draining, ""
	topic.Replicas, topic.Retention, topic.MaxMessage = 0, pipeline.Retention{}, 0
	driver := p.Brokers[topic.Broker].Driver
	if driver == pipeline.DriverEmbedded {
		topic.Retention = pipeline.Retention{Age: -1, Bytes: -1}
	}
	if driver != pipeline.DriverRabbitMQ {
		topic.Partitions = 0
	}
	if topic.Provision == pipeline.ProvisionCreate {
		topic.Provision = pipeline.ProvisionVerify
	}
	return topic
}

// Holdings are the topics that the pipeline has on the broker of that name,
// and the subscriptions on them, for Provision and Inspect. What is moving
// away from the broker and still read there is among them, and so is what the
// archiver reads.
func Holdings(p pipeline.Pipeline, name string) ([]pipeline.Topic, []Subscription) {
	var topics []pipeline.Topic
	for _, t := range p.Topics {
		switch {
		case t.Broker == name:
			topics = append(topics, t)
		case t.Draining == name && isRead(p, t.Name):
			topics = append(topics, leftover(p, t))
		}
	}
	slices.SortFunc(topics, func(a, b pipeline.Topic) int { return strings.Compare(a.Name, b.Name) })
	var subs []Subscription
	for _, h := range p.Handlers {
		switch name {
		case p.Topics[h.From].Broker:
			subs = append(subs, SubscriptionOf(p, h))
		case p.Topics[h.From].Draining:
			sub, _ := LeftoverOf(p, h)
			subs = append(subs, sub)
		}
	}
	for _, t := range topics {
		if t.DeadLetter && t.Broker == p.Topics[t.Name].Broker {
			subs = append(subs, ArchiveOf(p, t))
		}
	}
	return topics, subs
}

func isRead(p pipeline.Pipeline, topic string) bool {
	return slices.ContainsFunc(p.Handlers, func(h pipeline.Handler) bool { return h.From == topic })
}
