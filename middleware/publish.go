package middleware

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Send makes an outcome of in durable: it publishes messages to topics, awaits
// that each is confirmed, and has the store make the writes, which belong to
// the outcome. Where broker and store are one file that is one transaction;
// else the writes follow once all is confirmed. The error of a message is found
// by its index in each, and nil there always means that it is confirmed, also
// beside an err: it is not sent again. err is that of the writes, of which then
// none was made.
type Send func(ctx context.Context, in *message.Message, out []Output, writes []pipeline.Write) (each []error, err error)

// Output is a message and the topic that it goes to.
type Output struct {
	Topic   string
	Message *message.Message
}

// Publish sends what the kind returned, and awaits the confirms. It does so
// here rather than behind the chain, as Watermill would, so that a failure to
// publish has an outcome like any other: refused for good, the message is
// dead; not possible now, it is held.
type Publish struct {
	Handler string
	Topics  map[string]string // output name → topic
	Send    Send
	Holder  Holder

	// Flights take messages whose outcome needs nothing but the confirms of their
	// outputs: no goroutine waits for these, and the outcome is known later
	// (pipeline.Outcome.Defer). What does not begin or go well is done as with Send
	// alone. May be nil.
	Flights *Flights
}

// Middleware wraps h. The returned function returns no messages.
func (p Publish) Middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		produced, err := h(msg)
		if err != nil {
			return nil, err
		}
		outcome := pipeline.OutcomeOf(msg.Context())
		if p.Flights != nil && outcome.Plain() && len(produced) > 0 {
			f := &flight{publish: &p, msg: msg}
			if f.out, err = p.address(msg, produced, f.room[:0]); err != nil {
				return nil, err
			}
			outcome.Defer(f)
			return nil, nil
		}
		out, err := p.address(msg, produced, nil)
		if err != nil {
			return nil, err
		}
		writes := outcome.Writes(pipeline.ResultOK) // of outputs as they go out, if they do
		if len(out) == 0 && len(writes) == 0 {
			return nil, nil
		}
		return nil, p.hold(msg, out, writes, nil)
	}
}

// hold publishes out for as long as it takes. failed, unless nil, is how the
// first try went.
func (p *Publish) hold(in *message.Message, out []Output, writes []pipeline.Write, failed error) error {
	_, err := Recover(func(in *message.Message) ([]*message.Message, error) {
		return nil, p.Holder.Until(in, "publish", func(ctx context.Context) error {
			if err := failed; err != nil {
				failed = nil
				return err
			}
			return p.send(ctx, in, &out, writes)
		})
	})(in)
	return err
}

// address stamps the outputs, unless they are those of a run before, and finds
// the topic of each, in room if that is enough.
func (p *Publish) address(in *message.Message, produced []*message.Message, room []Output) ([]Output, error) {
	outcome := pipeline.OutcomeOf(in.Context())
	out := slices.Grow(room, len(produced))
	for i, msg := range produced {
		if msg == nil {
			return nil, pipeline.WithReason(pipeline.Permanent(fmt.Errorf("handler %s returned no message in place %d", p.Handler, i)), pipeline.ReasonInternal)
		}
		if msg.Metadata == nil {
			msg.Metadata = make(message.Metadata)
		}
		name := pipeline.OutputOf(msg)
		topic, ok := p.Topics[name]
		if !ok {
			return nil, pipeline.WithReason(pipeline.Permanent(
				fmt.Errorf("handler %s has no output %q under `to:`; it has %s", p.Handler, name, p.names())), pipeline.ReasonInternal)
		}
		if !outcome.Before {
			stamp(msg, in, p.Handler, i)
		}
		out = append(out, Output{Topic: topic, Message: msg})
		outcome.Sends(msg.UUID)
	}
	return out, nil
}

func (p *Publish) names() string {
	names := make([]string, 0, len(p.Topics))
	for name := range p.Topics {
		names = append(names, fmt.Sprintf("%q", name))
	}
	if len(names) == 0 {
		return "none"
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// stamp gives the index-th output of in its id, and links it to in.
func stamp(msg, in *message.Message, handler string, index int) {
	msg.UUID = pipeline.OutputID(in.UUID, handler, index)
	if !pipeline.Identified(in) { // an id made of a shared one is shared, too
		msg.Metadata.Set(pipeline.MetaIDSource, pipeline.IDSourceContent)
	}
	msg.Metadata.Set(pipeline.MetaCausationID, in.UUID)
	msg.Metadata.Set(pipeline.MetaCorrelationID, conversation(in))
	inject(msg, in)
}

// send publishes out, and on failure leaves in it what was not confirmed.
func (p *Publish) send(ctx context.Context, in *message.Message, out *[]Output, writes []pipeline.Write) error {
	each, stored := p.Send(ctx, in, *out, writes)
	var left []Output
	var first error
	for i, err := range each {
		if err == nil {
			continue
		}
		left = append(left, (*out)[i])
		// A refusal decides over what may pass: it will not go away.
		if err = fmt.Errorf("publish to %s: %w", (*out)[i].Topic, err); first == nil || pipeline.IsPermanent(err) {
			first = err
		}
	}
	*out = left
	if first == nil && stored != nil {
		first = fmt.Errorf("record the outcome: %w", stored)
	}
	return first
}

// Holder holds a message while the place of its outcome is away: it keeps the
// message in hand, pauses the handler's intake, says so, and tries again with
// a growing pause, for as long as it takes (design §4, Held).
type Holder struct {
	Hold    func(why string) (release func()) // pauses the intake; readiness shows why
	Timeout time.Duration                     // of one try
	Initial time.Duration                     // pause after the first; doubled up to Max
	Max     time.Duration
}

// Until calls try until it returns nil, a permanent error, or one that says that
// another instance has the message by now (store.ErrStaleToken), and returns it.
// When the message's context ends it returns pipeline.ErrStopping.
func (h Holder) Until(msg *message.Message, what string, try func(context.Context) error) error {
	var release func()
	defer func() {
		if release != nil {
			release()
		}
	}()
	var pauses *backoff.ExponentialBackOff
	for {
		err := h.once(msg, try)
		switch {
		case err == nil:
			return nil
		case msg.Context().Err() != nil:
			return errors.Join(stopping(msg), err)
		case pipeline.IsPermanent(err), errors.Is(err, store.ErrStaleToken):
			return err
		}
		if release == nil {
			pauses = Retry{Initial: h.Initial}.pauses()
			pauses.MaxInterval = h.Max * 2 / 3 // the jitter adds up to half
			release = h.Hold(fmt.Sprintf("%s: %v", what, err))
		}
		if stop := wait(msg, pauses.NextBackOff()); stop != nil {
			return stop
		}
	}
}

func (h Holder) once(msg *message.Message, try func(context.Context) error) error {
	ctx := pipeline.NewScope(msg.Context(), h.Timeout)
	defer ctx.End()
	return try(ctx)
}
