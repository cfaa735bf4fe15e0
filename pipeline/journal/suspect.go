package journal

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// How long others believe that a suspect runs in this process, and how often it
// says so. And how long an answer of the store may take while nothing else
// runs.
const (
	lease       = 10 * time.Second
	extendEvery = lease / 4
	askTimeout  = 5 * time.Second
)

// Suspect is a message that may have killed a process, while it is handled.
type Suspect struct {
	journal *Journal
	handler *Handler
	key     store.SuspectKey
}

// ErrElsewhere says that another process runs the message, or that it is not
// known yet that that one has died.
var ErrElsewhere = errors.New("another process runs the message")

// Check asks the store how the suspect stands, which makes it one there if it
// is none. The error is ErrElsewhere; or, once MaxCrashes processes have died
// of the message, a permanent one with pipeline.ReasonCrash, and outcome says
// how often it ran; or that of the store.
func (s *Suspect) Check(ctx context.Context, outcome *pipeline.Outcome) error {
	row, err := s.journal.store.Accuse(ctx, s.key, s.handler.topic)
	if err != nil {
		return err
	}
	s.journal.suspects.add(s.key) // again: whoever looked before (tidy) did not find it in the store
	switch {
	case row.Crashes >= MaxCrashes:
		outcome.Attempts, outcome.First = row.Crashes, row.First
		return pipeline.WithReason(pipeline.Permanent(fmt.Errorf(
			"the process died %d times while %s handled this message, the last times with nothing else running: it is quarantined; "+
				"look into the process's log of those times (out of memory, a fatal error of the runtime, os.Exit), mend the cause, then replay the message",
			row.Crashes, s.key.Handler)), pipeline.ReasonCrash)
	case row.Life != "" && row.Life != s.journal.life:
		return ErrElsewhere
	}
	return nil
}

// Done says that the handling of the message has ended.
func (s *Suspect) Done() { s.journal.inHand.Add(-1) }

// Settle returns the change of the store that belongs to the message's outcome,
// whatever that is: it is no suspect any more. It may be asked more than once.
func (s *Suspect) Settle(pipeline.Result) pipeline.Write {
	clearing := s.journal.store.ClearSuspect(s.key)
	return func(tx any) error {
		if err := clearing(tx); err != nil {
			return err
		}
		s.journal.suspects.remove(s.key)
		return nil
	}
}

// Run runs the kind while nothing else runs in this process; one that hangs
// does not stop the others for ever (see Journal.Hanging). False: ctx ends, or
// its subscription drains, before it is its turn. The error, ErrElsewhere or the
// store's, says that it did not run: Check again.
func (s *Suspect) Run(ctx context.Context, msg *message.Message, run func()) (bool, error) {
	j := s.journal
	if !j.gate.alone(ctx) {
		return false, nil
	}
	defer j.hanging.remove(s.key)
	defer j.gate.goOnWithin(s.handler.alone, s.hangs)()
	// Only now: the row of one that waits for its turn would count as a crash
	// when another one kills the process.
	if err := s.begin(ctx); err != nil {
		return true, err
	}
	defer s.keep()()
	s.handler.fill(msg, true, run)
	return true, nil
}

// hangs is told when the others do not wait for the suspect any more.
func (s *Suspect) hangs() {
	s.journal.hanging.add(s.key)
	s.journal.log.Error("a suspect that runs alone does not end: the others go on beside it; if the process dies now, they are suspects, too",
		"handler", s.key.Handler, "message_id", s.key.Message, "after", s.handler.alone)
}

func (s *Suspect) begin(ctx context.Context) error {
	asking := pipeline.NewScope(ctx, askTimeout)
	defer asking.End()
	s.journal.begun.Store(true)
	err := s.journal.store.BeginRun(asking, s.key, s.journal.life, lease)
	if errors.Is(err, store.ErrConflict) {
		return ErrElsewhere
	}
	return err
}

// keep tells others that the run goes on, until the returned function tells
// them that it has ended.
func (s *Suspect) keep() (end func()) {
	j := s.journal
	running, ended := context.WithCancel(j.over)
	done := make(chan struct{})
	j.keeping.Go(func() {
		defer close(done)
		s.extend(running)
	})
	return func() {
		ended()
		<-done
		if j.over.Err() != nil {
			return // the journal has ended this life, with all that ran
		}
		ctx, cancel := context.WithTimeout(context.Background(), askTimeout)
		defer cancel()
		if err := j.store.EndRun(ctx, s.key, j.life); err != nil {
			j.log.Warn("cannot note that a suspect has ended its run: another process may take it for a crash",
				"handler", s.key.Handler, "message_id", s.key.Message, "error", err)
		}
	}
}

func (s *Suspect) extend(ctx context.Context) {
	tick := time.NewTicker(extendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			if err := s.extendOnce(ctx); err != nil && ctx.Err() == nil {
				s.journal.log.Warn("cannot note that a suspect still runs", "handler", s.key.Handler, "message_id", s.key.Message, "error", err)
			}
		}
	}
}

// extendOnce ends before the next tick: an answer that never comes must not keep
// the next question from being asked.
func (s *Suspect) extendOnce(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, extendEvery)
	defer cancel()
	return s.journal.store.ExtendRun(ctx, s.key, s.journal.life, lease)
}

type suspectKey struct{}

// With returns ctx carrying the suspect.
func With(ctx context.Context, s *Suspect) context.Context {
	return context.WithValue(ctx, suspectKey{}, s)
}
