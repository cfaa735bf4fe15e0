package pipeline

import (
	"context"
	"errors"
	"time"
)

// State is what a handler remembers from one message to the next: bytes under
// keys of its own, in the store. Any number of goroutines may use it.
//
// A kind loads what it needs, and right before it returns success it adds what
// it changed to the outcome of its message:
//
//	value, version, err := env.State.Load(msg.Context(), key)
//	…
//	pipeline.OutcomeOf(msg.Context()).Save(env.State.Save(key, version, changed, keep))
//
// So a run that failed leaves nothing behind. On the embedded broker outputs,
// state and acknowledgement are one transaction, where the store is in the
// broker's file as it is by default. Elsewhere the outputs are confirmed first,
// then the state is saved, then the message is acknowledged. A crash between
// the two repeats the message: on the old state it makes the same outputs with
// the same ids again, on the new one it must find that it has been there.
type State interface {
	// Load returns what is kept under key, and its version; nil and 0 if that
	// is nothing. While the store is away the error says so, and the chain holds
	// the message: it is for the kind to return it.
	Load(ctx context.Context, key string) (value []byte, version int64, err error)

	// Save prepares to keep value under key, for as long as keep says and
	// nothing else is saved there; 0: for ever. version is that of Load. If
	// another message has saved something since, the Write fails with
	// ErrOutdated, and the chain runs the kind again.
	Save(key string, version int64, value []byte, keep time.Duration) Write
}

// ErrOutdated is wrapped by the error of a Write of State.Save that came too
// late: what it was made of is not what is there now.
var ErrOutdated = errors.New("the state has changed since it was read")
