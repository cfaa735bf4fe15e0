package middleware

import (
	"crypto/rand"
	"errors"
	"fmt"
	"math"
	mathrand "math/rand/v2"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// ErrBehind says that a message must not run yet: an earlier one of its key is
// delayed. Settle puts it behind that one.
var ErrBehind = errors.New("an earlier message of its key is delayed")

// Delay is the policy of retries from the store, and how a message gets there.
type Delay struct {
	Handler  string
	Policy   pipeline.Delayed
	Overtake bool                          // what waits holds up no later message of its key
	Store    store.Delayed                 // nil: there is none, and no delays
	Lane     func(*message.Message) string // what orders the message; "": nothing
	OnDelay  func(lane string)             // called when a message waits; lane is "" if it holds up nobody
}

// Left reports whether the message may be delayed after a failure.
func (d Delay) Left(msg *message.Message) bool {
	rounds := 0
	if l := store.LeaseOf(msg.Context()); l != nil {
		rounds = l.Rounds
	}
	return d.Store != nil && rounds < d.Policy.Attempts
}

// write prepares what delays msg, whose run has failed with this outcome, and
// returns when it is due.
func (d Delay) write(msg *message.Message, o *pipeline.Outcome) (pipeline.Write, time.Time) {
	again := store.LeaseOf(msg.Context())
	var l store.Lease
	if again != nil {
		l = *again
	} else {
		l.DelayedMessage = d.Message(msg)
	}
	l.Due = now().Add(d.pause(l.Rounds, o.Err))
	l.Rounds++
	l.Attempts, l.First, l.Reason, l.Error = o.Attempts, o.First, o.Reason, clip(o.Err.Error(), maxErrorText)
	if again != nil {
		return d.Store.DelayAgain(l), l.Due
	}
	return d.Store.Delay(l.DelayedMessage), l.Due
}

// behind prepares what puts msg behind the others of its key.
func (d Delay) behind(msg *message.Message) pipeline.Write {
	m := d.Message(msg)
	m.Due = now()
	return d.Store.Delay(m)
}

// told says that msg waits.
func (d Delay) told(msg *message.Message) {
	lane := d.Lane(msg)
	if d.Overtake {
		lane = ""
	}
	d.OnDelay(lane)
}

// Message returns msg, which came from its broker, as the store keeps it: not
// due and without a story.
func (d Delay) Message(msg *message.Message) store.DelayedMessage {
	origin := originOf(msg)
	m := store.DelayedMessage{
		Handler: d.Handler, Message: msg.UUID, Topic: origin.Topic, Partition: origin.Partition, Offset: origin.Offset,
		Key: d.Lane(msg), Overtake: d.Overtake,
		// Sent again under its id it is a repeat only with the same payload: one
		// that was repaired must not be taken for the one that waits.
		Copy:    sum(msg.Payload),
		Content: store.Content{Headers: msg.Metadata, Payload: msg.Payload},
	}
	if !pipeline.Identified(msg) {
		// Two equal messages share the id and must not be merged. Where there is
		// no position either, a copy that its broker hands out again is one more.
		m.Copy = rand.Text()
		if origin.Offset >= 0 {
			m.Copy = fmt.Sprintf("%d/%d", origin.Partition, origin.Offset)
		}
	}
	return m
}

// pause is how long a message waits that has waited so many rounds: the
// policy's, or what the error asks for if that is more.
func (d Delay) pause(rounds int, err error) time.Duration {
	wait := min(float64(d.Policy.Initial)*math.Pow(d.Policy.Multiplier, float64(rounds)), float64(d.Policy.Max))
	wait *= 1 + d.Policy.Jitter*(2*mathrand.Float64()-1) //nolint:gosec // jitter
	asked, _ := pipeline.RetryDelay(err)
	return max(time.Duration(wait), asked)
}

// originOf returns where msg was read; one of our own making has no place.
func originOf(msg *message.Message) *pipeline.Origin {
	if origin := pipeline.OriginOf(msg.Context()); origin != nil {
		return origin
	}
	return &pipeline.Origin{Offset: -1}
}
