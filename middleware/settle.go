package middleware

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Settle turns the result of a message into its outcome. Success: it is
// acknowledged. Failure: it is delayed while the policy has retries left, else
// sent to the dead-letter topic, and only when that is durable acknowledged;
// while the place of the outcome is away the message is held. It never asks
// for the message again, except when Waybill stops: then the error goes up,
// nothing is settled, and the broker keeps the message.
type Settle struct {
	Handler    string
	Group      string // the subscription
	DeadLetter string // topic
	Parking    string // topic of those that were replayed MaxReplays times
	MaxReplays int    // 0: no bound
	Delay      Delay
	Send       Send
	Holder     Holder
	Log        *slog.Logger
}

// Middleware wraps h.
func (s Settle) Middleware(h message.HandlerFunc) message.HandlerFunc {
	h = Recover(h) // of what the chain itself does with a kind's results
	end := s.end
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := pipeline.OutcomeOf(msg.Context())
		_, err := h(msg)
		return nil, outcome.Then(msg, err, end)
	}
}

// end gives a message its outcome, by how the chain inside has ended.
func (s Settle) end(msg *message.Message, outcome *pipeline.Outcome, err error) error {
	outcome.Result = pipeline.ResultStopped // should it panic
	switch {
	case err == nil:
		outcome.Result = pipeline.ResultOK
	case errors.Is(err, ErrBehind):
		err = s.delay(msg, outcome, s.Delay.behind(msg))
	case settled(err):
		err = s.settle(msg, outcome, err)
	}
	return s.close(msg, outcome, err)
}

// settled reports whether err is a failure of the message.
func settled(err error) bool {
	return !errors.Is(err, pipeline.ErrStopping) && !errors.Is(err, store.ErrStaleToken)
}

// settle gives a message that failed its outcome.
func (s Settle) settle(msg *message.Message, outcome *pipeline.Outcome, cause error) error {
	if outcome.Err == nil { // it failed outside of the kind
		outcome.Failed(cause, now())
	}
	outcome.Err, outcome.Reason = cause, pipeline.ReasonOf(cause)
	if pipeline.IsPermanent(cause) || !s.Delay.Left(msg) {
		return s.bury(msg, outcome)
	}
	write, due := s.Delay.write(msg, outcome)
	if err := s.delay(msg, outcome, write); err != nil || outcome.Result != pipeline.ResultDelayed {
		return err
	}
	s.Log.WarnContext(msg.Context(), "message is delayed: "+cause.Error(),
		"due", due.Format(time.RFC3339Nano), "reason", outcome.Reason, "attempts", outcome.Attempts)
	return nil
}

// delay has the message wait in the store. What that can take at no time is
// dead: it would hold up its handler for ever.
func (s Settle) delay(msg *message.Message, outcome *pipeline.Outcome, write pipeline.Write) error {
	writes := append(outcome.Writes(pipeline.ResultDelayed), write)
	err := s.Holder.Until(msg, "delay the message", func(ctx context.Context) error {
		_, err := s.Send(ctx, msg, nil, writes)
		if errors.Is(err, store.ErrInvalid) {
			err = pipeline.Permanent(err)
		}
		return err
	})
	switch {
	case pipeline.IsPermanent(err) && settled(err):
		return s.settle(msg, outcome, refused(err, outcome.Err))
	case err != nil:
		return err
	}
	outcome.Result = pipeline.ResultDelayed
	s.Delay.told(msg)
	return nil
}

// refused says that the store refuses to delay a message, and why it was to be
// delayed; nil: it was behind another.
func refused(err, why error) error {
	if why == nil {
		return fmt.Errorf("delay the message: %w", err)
	}
	return fmt.Errorf("delay the message: %w; that was because of: %v", err, why) //nolint:errorlint // only err decides
}

// bury makes the message a dead letter.
func (s Settle) bury(msg *message.Message, outcome *pipeline.Outcome) error {
	letter, topic := s.letter(msg, outcome), s.grave(msg)
	writes := outcome.Writes(pipeline.ResultDead)
	err := s.Holder.Until(msg, "write the dead letter", func(ctx context.Context) error {
		err := s.send(ctx, msg, Output{topic, letter}, writes)
		if pipeline.ReasonOf(err) == pipeline.ReasonTooLarge {
			bare(letter) // a message near the limit leaves little room for its story
			err = s.send(ctx, msg, Output{topic, letter}, writes)
		}
		// There is no place behind this one: what it refuses is held until
		// somebody has made the place right.
		return notFinal(err)
	})
	if err != nil {
		return err
	}
	outcome.Result = pipeline.ResultDead
	s.Log.ErrorContext(msg.Context(), "message is dead: "+outcome.Err.Error(),
		"topic", topic, "reason", outcome.Reason, "attempts", outcome.Attempts)
	return nil
}

// grave is the topic for msg's dead letter.
func (s Settle) grave(msg *message.Message) string {
	if s.MaxReplays > 0 && replays(msg) >= s.MaxReplays {
		return s.Parking
	}
	return s.DeadLetter
}

// close ends a message that has its outcome. One that has none is not settled,
// unless another instance has it: then it is let go here.
func (s Settle) close(msg *message.Message, outcome *pipeline.Outcome, err error) error {
	if err == nil {
		return nil
	}
	if !errors.Is(err, store.ErrStaleToken) {
		outcome.Result = pipeline.ResultStopped
		return err
	}
	outcome.Result = pipeline.ResultVoid
	s.Log.WarnContext(msg.Context(), "outcome is void: the message was in hand for longer than its lease, and another instance has it: "+err.Error())
	return nil
}

func (s Settle) send(ctx context.Context, in *message.Message, letter Output, writes []pipeline.Write) error {
	each, err := s.Send(ctx, in, []Output{letter}, writes)
	return errors.Join(each[0], err)
}

// notFinal hides that an error is permanent.
func notFinal(err error) error {
	if err == nil || !pipeline.IsPermanent(err) {
		return err
	}
	return errors.New(err.Error() + " (the message is held until the dead-letter topic takes it)")
}
