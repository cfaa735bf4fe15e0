package store

import (
	"errors"

	"github.com/waybill-dev/waybill/pipeline"
)

// The closed set of errors that a store returns, beside those of a context
// that ended. They are wrapped with what was tried; ask with errors.Is. Each
// carries its pipeline.Reason.
var (
	// ErrNotFound: there is no such thing, or no more.
	ErrNotFound = sentinel("not found", pipeline.ReasonInvalid)
	// ErrConflict: the state or the version is not what the caller saw, or the
	// move is not legal from there. The caller reads again and decides anew.
	ErrConflict = sentinel("conflict", pipeline.ReasonConflict)
	// ErrStaleToken: the lease has ended and the message is somebody else's.
	// What was done under it must not be recorded.
	ErrStaleToken = sentinel("stale token", pipeline.ReasonConflict)
	// ErrInvalid: the argument can be right at no time.
	ErrInvalid = sentinel("invalid", pipeline.ReasonInvalid)
	// ErrUnavailable: the store cannot be reached, or its disk is in trouble.
	// Nothing was written; it may work again later.
	ErrUnavailable = sentinel("store unavailable", pipeline.ReasonUnavailable)
)

func sentinel(text string, reason pipeline.Reason) error {
	return pipeline.WithReason(errors.New(text), reason)
}
