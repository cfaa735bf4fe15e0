package engine

import (
	"context"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// sender returns how routes publish. Where all outputs are on the broker
// that the input came from, and that broker can, outputs and acknowledgement
// are one transaction; else each topic's publisher confirms its own.
func (e *Engine) sender() middleware.Send {
	return func(ctx context.Context, in *message.Message, out []middleware.Output) []error {
		for _, o := range out {
			o.Message.SetContext(ctx) // the kind's own may have ended with its timeout
		}
		claim, _ := broker.ClaimOf(in)
		if claim == nil { // a message of our own making: there is nothing to acknowledge
			return e.publish(out)
		}
		committer, can := e.opts.Brokers[claim.Broker()].(broker.Committer)
		if can && e.allOn(claim.Broker(), out) {
			return commit(ctx, committer, in, out)
		}
		return e.publish(out)
	}
}

func (e *Engine) allOn(name string, out []middleware.Output) bool {
	for _, o := range out {
		if e.opts.Pipeline.Topics[o.Topic].Broker != name {
			return false
		}
	}
	return true
}

// commit publishes out and settles in, together or not at all.
func commit(ctx context.Context, c broker.Committer, in *message.Message, out []middleware.Output) []error {
	outgoing := make([]broker.Outgoing, len(out))
	for i, o := range out {
		outgoing[i] = broker.Outgoing{Topic: o.Topic, Message: o.Message}
	}
	errs := make([]error, len(out))
	err := c.Commit(ctx, in, outgoing)
	if err == nil {
		return errs
	}
	var each *broker.PublishError
	if errors.As(err, &each) && len(each.Errs) == len(out) && pipeline.IsPermanent(err) {
		// None was published; those without an error of their own are only
		// waiting for the others.
		for i := range errs {
			if errs[i] = each.Errs[i]; errs[i] == nil {
				errs[i] = errors.New("not published: another output of the same message was refused")
			}
		}
		return errs
	}
	for i := range errs {
		errs[i] = err
	}
	return errs
}

// publish sends out topic by topic, each batch at once.
func (e *Engine) publish(out []middleware.Output) []error {
	errs := make([]error, len(out))
	for first := 0; first < len(out); {
		last := first + 1
		for last < len(out) && out[last].Topic == out[first].Topic {
			last++
		}
		e.publishTo(out[first].Topic, out[first:last], errs[first:last])
		first = last
	}
	return errs
}

func (e *Engine) publishTo(topic string, out []middleware.Output, errs []error) {
	name := e.opts.Pipeline.Topics[topic].Broker
	msgs := make([]*message.Message, len(out))
	for i, o := range out {
		msgs[i] = o.Message
	}
	err := e.opts.Brokers[name].Publisher().Publish(topic, msgs...)
	if err == nil {
		return
	}
	for i, err := range broker.Each(err, len(msgs)) {
		if err != nil {
			errs[i] = fmt.Errorf("broker %s: %w", name, err)
		}
	}
}
