package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// sender returns how routes make outcomes durable. Where all outputs are on
// the broker that the input came from, and that broker can, outputs and
// acknowledgement are one transaction, and the store's writes with them if it
// is in the same file. Else each topic's publisher confirms its own, and the
// store commits when all have.
func (e *Engine) sender() middleware.Send {
	return func(ctx context.Context, in *message.Message, out []middleware.Output, writes []pipeline.Write) ([]error, error) {
		within(ctx, out)
		if c := e.committer(in, out, writes); c != nil {
			return commit(ctx, c, in, out, writes)
		}
		if err := e.stillOurs(ctx, in, out); err != nil {
			return slices.Repeat([]error{err}, len(out)), err
		}
		each := e.publish(out)
		if len(writes) == 0 || errors.Join(each...) != nil {
			return each, nil
		}
		return each, e.opts.Store.Do(ctx, writes...)
	}
}

// within gives outputs the context of a try: the kind's own may have ended with
// its timeout.
func within(ctx context.Context, out []middleware.Output) {
	for _, o := range out {
		name := pipeline.OutputOf(o.Message)
		o.Message.SetContext(ctx)
		if name != "" {
			pipeline.SetOutput(o.Message, name)
		}
	}
}

// errNotBegun is of an output that could not be begun beside others.
var errNotBegun = errors.New("not begun")

// starter returns how routes begin to publish, as sender does, what needs no
// write of the store. A lease is such a write, so no message with one comes here.
func (e *Engine) starter() middleware.Start {
	return func(ctx context.Context, in *message.Message, out []middleware.Output, to pipeline.Confirmer) bool {
		within(ctx, out)
		if c := e.committer(in, out, nil); c != nil {
			return c.StartCommit(ctx, in, outgoing(out), to)
		}
		for i, o := range out {
			b := e.opts.Brokers[e.opts.Pipeline.Topics[o.Topic].Broker]
			switch {
			case b.Start(o.Topic, o.Message, to, i):
			case i == 0:
				return false
			default:
				to.Confirmed(i, errNotBegun)
			}
		}
		return true
	}
}

func outgoing(out []middleware.Output) []broker.Outgoing {
	outgoing := make([]broker.Outgoing, len(out))
	for i, o := range out {
		outgoing[i] = broker.Outgoing{Topic: o.Topic, Message: o.Message}
	}
	return outgoing
}

// stillOurs makes the lease of a delayed message last before something is
// published for it: broker and store are two here, and the store would refuse
// only what is out already. A lease that is new needs no asking: a process that
// was stopped meanwhile sees by its clock that it is not.
func (e *Engine) stillOurs(ctx context.Context, in *message.Message, out []middleware.Output) error {
	l := leasedOf(in.Context())
	if l == nil || len(out) == 0 || l.younger(leaseNew) {
		return nil
	}
	return l.extend(ctx)
}

// committer returns the broker that can make the whole outcome one
// transaction, or nil.
func (e *Engine) committer(in *message.Message, out []middleware.Output, writes []pipeline.Write) broker.Committer {
	var name string
	switch claim, _ := broker.ClaimOf(in); {
	case claim != nil:
		name = claim.Broker()
	case len(out) > 0 && len(writes) > 0: // a message of our own making: nothing to acknowledge, but two to agree
		name = e.opts.Pipeline.Topics[out[0].Topic].Broker
	default:
		return nil
	}
	c, can := e.opts.Brokers[name].(broker.Committer)
	if !can || !e.allOn(name, out) || len(writes) > 0 && c.Home() != e.opts.Store.Home() {
		return nil
	}
	return c
}

func (e *Engine) allOn(name string, out []middleware.Output) bool {
	for _, o := range out {
		if e.opts.Pipeline.Topics[o.Topic].Broker != name {
			return false
		}
	}
	return true
}

// commit publishes out, settles in and makes the writes, together or not at
// all.
func commit(ctx context.Context, c broker.Committer, in *message.Message, out []middleware.Output, writes []pipeline.Write) ([]error, error) {
	each := make([]error, len(out))
	err := c.Commit(ctx, in, outgoing(out), writes...)
	if err == nil {
		return each, nil
	}
	var refused *broker.PublishError
	if !errors.As(err, &refused) || len(refused.Errs) != len(out) || !pipeline.IsPermanent(err) {
		return slices.Repeat([]error{err}, len(out)), err
	}
	// None was published; those without an error of their own are only
	// waiting for the others.
	for i := range each {
		if each[i] = refused.Errs[i]; each[i] == nil {
			each[i] = errors.New("not published: another output of the same message was refused")
		}
	}
	return each, nil
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
