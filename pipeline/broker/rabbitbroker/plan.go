package rabbitbroker

import (
	"fmt"
	"slices"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// plan is what must be there for a topic and its subscriptions. It is made,
// or verified, in the order of its fields.
type plan struct {
	topic     string
	exchanges []exchange
	queues    []queue
	bindings  []binding
}

type exchange struct {
	name, kind string
	args       amqp.Table
}

type queue struct {
	name string
	args amqp.Table
}

// binding is from an exchange to a queue, or to another exchange.
type binding struct {
	from, key, to string
	toExchange    bool
}

// planOf plans a topic. Without subscriptions it gets a queue that keeps its
// messages, unless it says otherwise.
func planOf(l layout, subs []broker.Subscription) (plan, error) {
	p := plan{topic: l.topic.Name}
	if !l.predeclared() {
		p.exchanges = append(p.exchanges, exchange{name: l.exchange, kind: l.kind})
	}
	for _, sub := range subs {
		if err := l.check(sub); err != nil {
			return plan{}, err
		}
		if l.isPartitioned(sub) {
			p.addPartitions(l, sub)
			continue
		}
		if !l.isArchived() {
			p.addQueue(l, l.queues(sub)[0], l.arguments(isOrdered(sub)))
		}
	}
	if own := l.ownQueue(); own != "" && (len(subs) == 0 || l.isArchived()) {
		p.addQueue(l, own, l.ownArguments())
	}
	return p, nil
}

// addQueue adds a queue bound to the topic's exchange, once.
func (p *plan) addQueue(l layout, name string, args amqp.Table) {
	for _, q := range p.queues {
		if q.name == name {
			return // subscriptions of a topic that names its queue share it
		}
	}
	p.queues = append(p.queues, queue{name, args})
	if !l.isDefault() {
		p.bindings = append(p.bindings, binding{from: l.exchange, key: l.bindingKey(), to: name})
	}
}

// addPartitions adds a consistent-hash exchange of the subscription's name,
// and a queue a partition behind it. The queues are bound first: what the
// topic's exchange sends on must find all of them, or a key would move. They
// are bound in the order of their names, since that is how RabbitMQ mostly
// makes the ring again when it starts; see the package comment.
func (p *plan) addPartitions(l layout, sub broker.Subscription) {
	p.exchanges = append(p.exchanges, exchange{
		name: sub.Name, kind: typeHash, args: amqp.Table{argHashHeader: pipeline.MetaPartitionKey},
	})
	for _, name := range slices.Sorted(slices.Values(l.queues(sub))) {
		p.queues = append(p.queues, queue{name, l.arguments(true)})
		p.bindings = append(p.bindings, binding{from: sub.Name, key: equalHashShare, to: name})
	}
	p.bindings = append(p.bindings, binding{from: l.exchange, key: l.bindingKey(), to: sub.Name, toExchange: true})
}

// create makes what is missing. It stops at what is there and different.
func (p plan) create(ch *amqp.Channel) error {
	for _, e := range p.exchanges {
		err := ch.ExchangeDeclare(e.name, e.kind, true, false, false, false, e.args)
		if hasCode(err, amqp.CommandInvalid) && e.kind == typeHash {
			return fmt.Errorf("declare exchange %s: %w: run rabbitmq-plugins enable rabbitmq_consistent_hash_exchange", e.name, err)
		}
		if err != nil {
			return declared(err, "exchange", e.name, "exchange_type or partitions")
		}
	}
	for _, q := range p.queues {
		if _, err := ch.QueueDeclare(q.name, true, false, false, false, q.args); err != nil {
			return declared(err, "queue", q.name, "queue_type, arguments, retention or the handler's ordering")
		}
	}
	for _, b := range p.bindings {
		if err := b.create(ch); err != nil {
			return declared(err, "binding of", b.to, "routing_key")
		}
	}
	return nil
}

func (b binding) create(ch *amqp.Channel) error {
	if b.toExchange {
		return ch.ExchangeBind(b.to, b.key, b.from, false, nil)
	}
	return ch.QueueBind(b.to, b.key, b.from, false, nil)
}

// declared explains why something could not be made. keys names what in the
// config decides how it is made.
func declared(err error, what, name, keys string) error {
	switch {
	case hasCode(err, amqp.PreconditionFailed):
		return fmt.Errorf("declare %s %s: it exists and is different: %s: "+
			"change %s to match, or delete it once it is empty", what, name, difference(err), keys)
	case hasCode(err, amqp.AccessRefused):
		return fmt.Errorf("declare %s %s: %w: let the user configure, write and read it, or set provision: verify", what, name, err)
	}
	return classed(fmt.Errorf("declare %s %s: %w", what, name, err))
}

// difference is RabbitMQ's own sentence about it, which names the argument,
// what was found and what was wanted.
func difference(err error) string {
	return strings.TrimPrefix(reply(err).Reason, "PRECONDITION_FAILED - ")
}
