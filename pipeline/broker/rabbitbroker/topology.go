package rabbitbroker

import (
	"context"
	"fmt"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Provision implements broker.Admin.
func (b *Broker) Provision(ctx context.Context, topics []pipeline.Topic, subs []broker.Subscription) error {
	b.readers.add(subs)
	for _, topic := range topics {
		var own []broker.Subscription
		for _, sub := range subs {
			if sub.Topic.Name == topic.Name {
				own = append(own, sub)
			}
		}
		if err := b.provision(ctx, topic, own); err != nil {
			return fmt.Errorf("provision topic %s: %w", topic.Name, err)
		}
	}
	return nil
}

func (b *Broker) provision(ctx context.Context, topic pipeline.Topic, subs []broker.Subscription) error {
	p, err := planOf(layoutOf(topic), subs)
	if err != nil {
		return err
	}
	switch topic.Provision {
	case pipeline.ProvisionOff:
		return nil
	case pipeline.ProvisionVerify:
		return b.verify(ctx, p)
	}
	return b.create(ctx, p)
}

func (b *Broker) create(ctx context.Context, p plan) error {
	if err := b.consume.do(ctx, p.create); err != nil {
		return err
	}
	b.log.Debug("declared", "topic", p.topic, "exchanges", len(p.exchanges), "queues", len(p.queues), "bindings", len(p.bindings))
	for _, e := range p.exchanges {
		b.publisher.exchanges.made(e.name)
	}
	return nil
}

// verify finds what is missing and, if the management API can be asked, what
// is different. All of it is in the error.
func (b *Broker) verify(ctx context.Context, p plan) error {
	var faults []error
	if b.api == nil {
		b.log.Info("verify: existence only, set management_url to compare types, arguments and bindings", "topic", p.topic)
		for _, e := range p.exchanges {
			faults = append(faults, b.passive(ctx, "exchange", e.name, func(ch *amqp.Channel) error {
				return ch.ExchangeDeclarePassive(e.name, e.kind, true, false, false, false, nil)
			}))
		}
		for _, q := range p.queues {
			_, err := b.declared(ctx, q.name)
			faults = append(faults, err)
		}
		return joined(faults)
	}
	for _, e := range p.exchanges {
		faults = append(faults, b.api.verifyExchange(ctx, e))
	}
	for _, q := range p.queues {
		faults = append(faults, b.api.verifyQueue(ctx, q))
	}
	for _, bind := range p.bindings {
		faults = append(faults, b.api.verifyBinding(ctx, bind))
	}
	return joined(faults)
}

// declared is what RabbitMQ says of a queue. 0 messages and 0 consumers may
// mean that it does not know; see count.
func (b *Broker) declared(ctx context.Context, name string) (amqp.Queue, error) {
	var q amqp.Queue
	err := b.passive(ctx, "queue", name, func(ch *amqp.Channel) (err error) {
		q, err = ch.QueueDeclarePassive(name, true, false, false, false, nil)
		return err
	})
	if err != nil {
		return amqp.Queue{}, err // q may be written still: an answer that nobody waited for
	}
	return q, nil
}

// passive asks for something by a passive declare, which makes nothing.
func (b *Broker) passive(ctx context.Context, what, name string, ask func(*amqp.Channel) error) error {
	err := b.consume.do(ctx, ask)
	switch {
	case err == nil:
		return nil
	case hasCode(err, amqp.NotFound) && !mayPass(err):
		return missing(what, name)
	}
	return classed(fmt.Errorf("look at %s %s: %w", what, name, err))
}

// missing is the error for what is not there.
func missing(what, name string) error {
	return fmt.Errorf("%w: %s %s: create it, or set provision: create", broker.ErrMissing, what, name)
}
