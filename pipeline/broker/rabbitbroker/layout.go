package rabbitbroker

import (
	"fmt"
	"strconv"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

const (
	typeTopic = "topic"
	typeHash  = "x-consistent-hash"
	noQueue   = "none"

	argType        = "x-queue-type"
	argLimit       = "x-delivery-limit"
	argSingle      = "x-single-active-consumer"
	argHashHeader  = "hash-header"
	argTTL         = "x-message-ttl"
	argBytes       = "x-max-length-bytes"
	deliveryLimit  = int64(1_000_000)
	equalHashShare = "1" // a queue's weight at a consistent-hash exchange
)

// layout says where a topic is on RabbitMQ.
type layout struct {
	topic    pipeline.Topic
	exchange string
	kind     string // the exchange's type
	queue    string // the queue that the topic names itself; "": one a subscription
}

func layoutOf(t pipeline.Topic) layout {
	l := layout{topic: t, exchange: t.Name, kind: t.Rabbit.ExchangeType, queue: t.Rabbit.Queue}
	if t.Rabbit.Exchange != nil {
		l.exchange = *t.Rabbit.Exchange
	}
	if l.kind == "" {
		l.kind = typeTopic
	}
	if l.queue == noQueue {
		l.queue = ""
	}
	if l.isDefault() && l.queue == "" {
		l.queue = t.Name
	}
	return l
}

// isDefault reports whether producers write straight to the topic's queue.
func (l layout) isDefault() bool { return l.exchange == amqp.DefaultExchange }

// predeclared reports whether the exchange is one of the broker's own.
func (l layout) predeclared() bool { return l.isDefault() || strings.HasPrefix(l.exchange, "amq.") }

// messageKey is the routing key of a message that names none.
func (l layout) messageKey() string {
	switch {
	case l.topic.Rabbit.RoutingKey != nil:
		return *l.topic.Rabbit.RoutingKey
	case l.isDefault():
		return l.queue
	}
	return l.topic.Name
}

// bindingKey is what the topic's queues are bound with.
func (l layout) bindingKey() string {
	switch {
	case l.kind == typeHash:
		return equalHashShare
	case l.topic.Rabbit.RoutingKey != nil:
		return *l.topic.Rabbit.RoutingKey
	case l.kind == typeTopic:
		return "#"
	}
	return l.topic.Name
}

// ownQueue is where messages are kept that no subscription reads; "": nowhere.
func (l layout) ownQueue() string {
	switch {
	case l.queue != "":
		return l.queue
	case l.topic.Rabbit.Queue == noQueue:
		return ""
	}
	return l.topic.Name
}

// isArchived reports whether dead letters are read from the topic's own queue.
func (l layout) isArchived() bool { return l.topic.DeadLetter && l.queue == l.topic.Name }

// queues are what a subscription reads, one claim each.
func (l layout) queues(sub broker.Subscription) []string {
	switch {
	case l.queue != "":
		return []string{l.queue}
	case !l.isPartitioned(sub):
		return []string{sub.Name}
	}
	names := make([]string, l.topic.Partitions)
	for n := range names {
		names[n] = sub.Name + "." + strconv.Itoa(n)
	}
	return names
}

// isPartitioned reports whether the subscription's messages are spread over
// several queues, each of which is read in order by one process at a time.
func (l layout) isPartitioned(sub broker.Subscription) bool {
	return l.topic.Partitions > 1 && sub.Ordering == pipeline.OrderingKey && l.queue == ""
}

// arguments are those that the topic's queues are declared with.
func (l layout) arguments(singleActive bool) amqp.Table {
	args := amqp.Table{}
	if l.topic.Rabbit.QueueType != "classic" {
		args[argType] = "quorum"
		args[argLimit] = deliveryLimit
	}
	if singleActive {
		args[argSingle] = true
	}
	for name, value := range l.topic.Rabbit.Arguments {
		args[name] = argument(value)
	}
	return args
}

// ownArguments are those of a queue that nobody reads: it alone has the
// topic's retention. A subscription's queue keeps what its handler has not
// read. Dead letters, which the archiver reads, are in the queue that they had
// while nobody did.
func (l layout) ownArguments() amqp.Table {
	args := l.arguments(false)
	if r := l.topic.Retention; l.queue == "" || l.isArchived() {
		if r.Age > 0 {
			args[argTTL] = r.Age.Milliseconds()
		}
		if r.Bytes > 0 {
			args[argBytes] = r.Bytes
		}
	}
	return args
}

// argument turns a value as YAML gives it into one that AMQP knows.
func argument(value any) any {
	switch v := value.(type) {
	case int:
		return int64(v)
	case uint64:
		return int64(v) //nolint:gosec // no argument is that large
	case uint:
		return int64(v) //nolint:gosec // the same
	case map[string]any:
		table := make(amqp.Table, len(v))
		for name, inner := range v {
			table[name] = argument(inner)
		}
		return table
	case []any:
		list := make([]any, len(v))
		for i, inner := range v {
			list[i] = argument(inner)
		}
		return list
	}
	return value
}

// isOrdered reports whether one process at a time is to read the queues.
func isOrdered(sub broker.Subscription) bool {
	return sub.Ordering == pipeline.OrderingKey || sub.Ordering == pipeline.OrderingPartition
}

// check finds what a topic asks for and cannot have.
func (l layout) check(sub broker.Subscription) error {
	if l.topic.Partitions > 1 && l.queue != "" && sub.Ordering == pipeline.OrderingKey {
		return fmt.Errorf("topic %s: partitions: %d needs queues of Waybill's own, and the topic names queue %q: remove one of them",
			l.topic.Name, l.topic.Partitions, l.queue)
	}
	if err := l.arguments(false).Validate(); err != nil {
		return fmt.Errorf("topic %s: arguments: %w: use text, numbers, booleans, lists and maps", l.topic.Name, err)
	}
	return nil
}
