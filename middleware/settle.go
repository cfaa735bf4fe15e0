package middleware

import (
	"context"
	"errors"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Settle turns the result of a message into its outcome. Success: it is
// acknowledged. Failure: it is sent to the dead-letter topic, and only when
// that is confirmed acknowledged; while that topic is away the message is
// held. It never asks for the message again, except when Waybill stops: then
// the error goes up, nothing is settled, and the broker keeps the message.
type Settle struct {
	Handler    string
	Group      string // the subscription
	DeadLetter string // topic
	Send       Send
	Holder     Holder
	Log        *slog.Logger
}

// Middleware wraps h.
func (s Settle) Middleware(h message.HandlerFunc) message.HandlerFunc {
	h = Recover(h) // of what the chain itself does with a kind's results
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := pipeline.OutcomeOf(msg.Context())
		_, err := h(msg)
		switch {
		case err == nil:
			outcome.Result = pipeline.ResultOK
			return nil, nil
		case errors.Is(err, pipeline.ErrStopping):
			outcome.Result = pipeline.ResultStopped
			return nil, err
		}
		return nil, s.bury(msg, outcome, err)
	}
}

// bury makes the message a dead letter.
func (s Settle) bury(msg *message.Message, outcome *pipeline.Outcome, cause error) error {
	if outcome.Err == nil { // it failed outside of the kind
		outcome.Failed(cause, now())
	}
	outcome.Err, outcome.Reason = cause, pipeline.ReasonOf(cause)
	letter := s.letter(msg, outcome)
	writes := outcome.Writes(pipeline.ResultDead)
	err := s.Holder.Until(msg, "write the dead letter", func(ctx context.Context) error {
		err := s.send(ctx, msg, letter, writes)
		if pipeline.ReasonOf(err) == pipeline.ReasonTooLarge {
			bare(letter) // a message near the limit leaves little room for its story
			err = s.send(ctx, msg, letter, writes)
		}
		// There is no place behind this one: what it refuses is held until
		// somebody has made the place right.
		return notFinal(err)
	})
	if err != nil {
		outcome.Result = pipeline.ResultStopped
		return err
	}
	outcome.Result = pipeline.ResultDead
	s.Log.ErrorContext(msg.Context(), "message is dead: "+cause.Error(),
		"topic", s.DeadLetter, "reason", outcome.Reason, "attempts", outcome.Attempts)
	return nil
}

func (s Settle) send(ctx context.Context, in, letter *message.Message, writes []pipeline.Write) error {
	each, err := s.Send(ctx, in, []Output{{Topic: s.DeadLetter, Message: letter}}, writes)
	return errors.Join(each[0], err)
}

// notFinal hides that an error is permanent.
func notFinal(err error) error {
	if err == nil || !pipeline.IsPermanent(err) {
		return err
	}
	return errors.New(err.Error() + " (the message is held until the dead-letter topic takes it)")
}
