package middleware

import (
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline"
)

// Bounds of how long a message is kept in hand because the other side asked
// for a pause: its lane and one place of the window wait with it.
const (
	retryAfterMax  = time.Minute
	retryAfterHere = time.Second // where it can be delayed instead
)

// Retry runs the kind again in place after a failure that is not permanent.
// It counts every run in the message's Outcome. Each run gets a copy of the
// message, so that whatever a kind does to it, the next run and the dead
// letter have the original.
type Retry struct {
	Immediate int           // runs after the first
	Initial   time.Duration // wait before the first of them; doubled each time, jittered by half
	OnRetry   func()        // called before each further run; may be nil

	// Delayed reports whether the message can wait in the store instead, where
	// what asks for a long pause goes without using up its runs here. May be nil.
	Delayed func(*message.Message) bool
}

// Middleware wraps h.
func (r Retry) Middleware(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		outcome := pipeline.OutcomeOf(msg.Context())
		var pauses *backoff.ExponentialBackOff
		for again := 0; ; again++ {
			outcome.Attempts++
			produced, err := h(pipeline.CopyMessage(msg))
			if err == nil {
				return produced, nil
			}
			if msg.Context().Err() != nil {
				outcome.Attempts--
				return nil, stopping(msg)
			}
			outcome.Failed(err, time.Now())
			if pipeline.IsPermanent(err) || again >= r.Immediate || r.handsOver(msg, err) {
				return nil, err
			}
			if pauses == nil {
				pauses = r.pauses()
			}
			if stop := wait(msg, pauseFor(err, pauses.NextBackOff())); stop != nil {
				return nil, stop
			}
			if r.OnRetry != nil {
				r.OnRetry()
			}
		}
	}
}

func (r Retry) pauses() *backoff.ExponentialBackOff {
	b := backoff.NewExponentialBackOff()
	b.InitialInterval, b.Multiplier, b.RandomizationFactor = r.Initial, 2, 0.5
	return b
}

// handsOver reports whether the pause that err asks for is one for the store.
func (r Retry) handsOver(msg *message.Message, err error) bool {
	asked, _ := pipeline.RetryDelay(err)
	return asked > retryAfterHere && r.Delayed != nil && r.Delayed(msg)
}

// pauseFor is the policy's pause, or what the error asks for if that is more.
func pauseFor(err error, policy time.Duration) time.Duration {
	if asked, ok := pipeline.RetryDelay(err); ok {
		return max(policy, min(asked, retryAfterMax))
	}
	return policy
}
