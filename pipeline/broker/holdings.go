package broker

import (
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/pipeline"
)

// SubscriptionOf is what a handler of the pipeline reads.
func SubscriptionOf(p pipeline.Pipeline, h pipeline.Handler) Subscription {
	topic := p.Topics[h.From]
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

// Holdings are the topics that the pipeline has on the broker of that name,
// and the subscriptions on them, for Provision and Inspect.
func Holdings(p pipeline.Pipeline, name string) ([]pipeline.Topic, []Subscription) {
	var topics []pipeline.Topic
	for _, t := range p.Topics {
		if t.Broker == name {
			topics = append(topics, t)
		}
	}
	slices.SortFunc(topics, func(a, b pipeline.Topic) int { return strings.Compare(a.Name, b.Name) })
	var subs []Subscription
	for _, h := range p.Handlers {
		if p.Topics[h.From].Broker == name {
			subs = append(subs, SubscriptionOf(p, h))
		}
	}
	return topics, subs
}
