package middleware

import (
	"context"
	"errors"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/journal"
)

// elsewherePause is how often the store is asked about a message that another
// process runs.
const elsewherePause = time.Second

// Suspects looks after messages that may have killed a process, and lets all
// others pass. A suspect stays one until it has an outcome, over all its runs;
// one that too many processes died of gets no more: it is dead at once. Where
// another process runs it, or ran it and may have died, the message waits until
// that is known. While the store is away it is held.
type Suspects struct {
	Journal *journal.Handler // nil: there is none
	Holder  Holder
}

// Middleware wraps h.
func (s Suspects) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if s.Journal == nil {
		return h
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		suspect := s.Journal.Suspect(msg)
		if suspect == nil {
			return h(msg)
		}
		defer suspect.Done()
		// Before it is looked up, so that a quarantine's outcome has it, too.
		pipeline.OutcomeOf(msg.Context()).Settling(suspect.Settle)
		if err := admit(msg, suspect, s.Holder); err != nil {
			return nil, err
		}
		msg.SetContext(journal.With(msg.Context(), suspect))
		return h(msg)
	}
}

// admit returns when the suspect may run here, or why it never will.
func admit(msg *message.Message, s *journal.Suspect, holder Holder) error {
	for {
		elsewhere := false
		err := holder.Until(msg, "look up whether a process died of the message", func(ctx context.Context) error {
			err := s.Check(ctx, pipeline.OutcomeOf(ctx))
			if elsewhere = errors.Is(err, journal.ErrElsewhere); elsewhere {
				return nil // the store answers: nothing is to be held
			}
			return err
		})
		if err != nil || !elsewhere {
			return err
		}
		if err := wait(msg, elsewherePause); err != nil {
			return err
		}
	}
}
