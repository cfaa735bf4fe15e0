package pipeline

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Reason says why a message failed. The set is closed: it is the label of the
// metrics and the value of MetaDeadReason (design §4).
type Reason string

// The reasons.
const (
	ReasonInvalid     Reason = "invalid"     // the message itself is wrong: not JSON, a rule refuses it
	ReasonRejected    Reason = "rejected"    // the other side said no for good (HTTP 4xx, SMTP 5xx)
	ReasonUnavailable Reason = "unavailable" // the other side could not be reached, or said it is down
	ReasonTimeout     Reason = "timeout"     // no answer in time
	ReasonThrottled   Reason = "throttled"   // the other side asked to slow down
	ReasonConflict    Reason = "conflict"    // the same id with other content
	ReasonUnroutable  Reason = "unroutable"  // the broker has no place for an output
	ReasonTooLarge    Reason = "too_large"   // an output is over the broker's limit
	ReasonPanic       Reason = "panic"       // the handler panicked
	ReasonCrash       Reason = "crash"       // the process died while the message was handled
	ReasonExpired     Reason = "expired"     // the message was too old
	ReasonInternal    Reason = "internal"    // anything else
)

// Reasons lists the closed set, for schemas and for tables in documents.
func Reasons() []Reason {
	return []Reason{
		ReasonInvalid, ReasonRejected, ReasonUnavailable, ReasonTimeout, ReasonThrottled, ReasonConflict,
		ReasonUnroutable, ReasonTooLarge, ReasonPanic, ReasonCrash, ReasonExpired, ReasonInternal,
	}
}

// TripsBreaker reports whether a failure for this reason says that the other
// side is in trouble, rather than that this message is wrong.
func (r Reason) TripsBreaker() bool {
	return r == ReasonUnavailable || r == ReasonTimeout || r == ReasonThrottled
}

// decision is the part of an error that says what to do with the message.
type decision struct {
	err       error
	reason    Reason
	permanent bool
	after     time.Duration
}

func (d *decision) Error() string { return d.err.Error() }
func (d *decision) Unwrap() error { return d.err }

// Permanent marks err as one that no retry can mend: the message is dead at
// once. Without a reason in err it counts as ReasonInvalid. Permanent(nil) is
// nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &decision{err: err, permanent: true}
}

// RetryAfter marks err as one that is worth another try, not before d has
// passed. With delayed retries a message for which that is more than a second
// waits in the store; without, it is kept in hand for at most a minute. It
// burns an attempt like any other failure. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &decision{err: err, after: d}
}

// WithReason marks err with the reason it is counted and filed under. The
// outermost reason wins. WithReason(nil, r) is nil.
func WithReason(err error, r Reason) error {
	if err == nil {
		return nil
	}
	return &decision{err: err, reason: r}
}

// Invalid is a permanent error for ReasonInvalid, formatted as fmt.Errorf.
func Invalid(format string, args ...any) error {
	return &decision{err: fmt.Errorf(format, args...), reason: ReasonInvalid, permanent: true}
}

// IsPermanent reports whether err, or an error that it wraps, was marked with
// Permanent.
func IsPermanent(err error) bool {
	return find(err, func(d *decision) bool { return d.permanent }) != nil
}

// RetryDelay returns the delay of the outermost RetryAfter in err.
func RetryDelay(err error) (time.Duration, bool) {
	if d := find(err, func(d *decision) bool { return d.after > 0 }); d != nil {
		return d.after, true
	}
	return 0, false
}

// ReasonOf returns the reason that err carries. Unmarked errors are
// ReasonTimeout for a deadline, ReasonPanic for a PanicError, ReasonInvalid
// if permanent, else ReasonInternal.
func ReasonOf(err error) Reason {
	if d := find(err, func(d *decision) bool { return d.reason != "" }); d != nil {
		return d.reason
	}
	var p *PanicError
	switch {
	case errors.As(err, &p):
		return ReasonPanic
	case errors.Is(err, context.DeadlineExceeded):
		return ReasonTimeout
	case IsPermanent(err):
		return ReasonInvalid
	}
	return ReasonInternal
}

// find walks the chain of err, joined errors included, and returns the first
// decision for which ok says yes.
func find(err error, ok func(*decision) bool) *decision {
	for err != nil {
		//nolint:errorlint // this is the walk that errors.As does, with a predicate
		switch e := err.(type) {
		case *decision:
			if ok(e) {
				return e
			}
			err = e.err
		case interface{ Unwrap() error }:
			err = e.Unwrap()
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				if d := find(inner, ok); d != nil {
					return d
				}
			}
			return nil
		default:
			return nil
		}
	}
	return nil
}

// PanicError is what a recovered panic becomes.
type PanicError struct {
	Value any    // what was panicked with
	Stack []byte // the goroutine's stack at the panic
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// StackTrace returns the stack, for the dead letter.
func (e *PanicError) StackTrace() string { return string(e.Stack) }

// ErrStopping is the cause with which a handler's context ends when the
// shutdown timeout has passed. A message whose handling ends with it was not
// settled: its broker keeps it and no attempt was burnt.
var ErrStopping = errors.New("waybill is stopping")
