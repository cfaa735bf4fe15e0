// Package process is the kind process_order: it checks an order, logs it for
// people and for the audit, and hands it on once for each effect that shall
// follow.
//
// The kind has no effect itself. Each name under the handler's `to:` is one
// effect (email, warehouse, notification, …), and each gets the order as a
// message of its own, with the bytes that came in. So the effects do not wait
// for each other: a mail server that is away holds up mails alone.
//
//	process:
//	  kind: process_order
//	  from: prepared-orders
//	  to: {email: emails, warehouse: warehouse-calls, notification: notifications}
//	  with:
//	    currency: "€"
//	    validate: {total: fail}
package process

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/internal/delay"
	"github.com/waybill-dev/waybill/handlers/order"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/pipeline"
)

// Kind returns the kind process_order.
func Kind() pipeline.Kind {
	return pipeline.Kind{
		Name: "process_order",
		Doc: "Checks an order, logs it, and sends it on once to each of the handler's outputs, one for each effect. " +
			"It reads orders with items, with a cart, and with order_lines. " +
			"An output's message is the order's own bytes, and its metadata says the output's name under `event`.",
		NewConfig: func() any { return NewConfig() },
		New:       newProcessor,
	}
}

// processor is one handler of the kind.
type processor struct {
	config *Config
	env    pipeline.Env
}

func newProcessor(env pipeline.Env, config any) (message.HandlerFunc, error) {
	p := &processor{config: config.(*Config), env: env}
	return p.handle, nil
}

func (p *processor) handle(msg *message.Message) ([]*message.Message, error) {
	o, err := order.Parse(msg.Payload)
	if err != nil {
		return nil, err
	}
	ctx, log := msg.Context(), p.env.Log
	if err := p.config.Validation.check(ctx, o, log); err != nil {
		return nil, err
	}
	for _, line := range received(o, p.config.Currency) {
		log.InfoContext(ctx, line)
	}
	log.InfoContext(ctx, "🔄 Processing order…")
	if err := delay.Wait(ctx, p.config.SimulateDelay); err != nil {
		return nil, err
	}
	log.InfoContext(ctx, "✅ Order processed successfully!")
	return p.effects(msg), nil
}

// effects makes one message for each output and says in its metadata which
// effect it asks for.
func (p *processor) effects(msg *message.Message) []*message.Message {
	outs := output.Each(msg, p.env.Outputs, msg.Payload)
	for i, name := range p.env.Outputs {
		if name != "" {
			outs[i].Metadata.Set(pipeline.MetaEvent, name)
		}
	}
	return outs
}
