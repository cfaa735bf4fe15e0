package store

import (
	"context"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// SuspectKey names a message in a handler. An id that equal messages share
// stands for all of them: what kills a process is the content.
type SuspectKey struct {
	Handler string
	Message string
}

// Suspect is a message that a process may have died of, and that therefore
// runs alone.
type Suspect struct {
	SuspectKey
	Topic   string // where it was read
	Crashes int    // processes that died while it ran; at least 1, as one is assumed of a message that was handed out before
	Life    string // the process that runs it now, or died of it and nobody has noticed yet; "": none
	Until   time.Time
	First   time.Time // the first crash
	Last    time.Time
}

// Suspects remembers which messages processes died of (design §4, Attempt
// journal). A process is known by its life: a random text, a new one each time
// that it starts.
//
// While a suspect runs its row says so. A row that still does when the process
// is gone is a crash, counted once, by whoever notices first: the same process
// at its next start (EndLife), or another one that gets the message (Accuse),
// once the time has passed that the runner had promised to prolong.
type Suspects interface {
	// Accuse makes the message a suspect with one crash, unless it is one. Of a
	// run that was left behind it counts the crash. It returns how the suspect
	// stands: if Life is not "", that process runs it until Until or longer.
	Accuse(ctx context.Context, key SuspectKey, topic string) (Suspect, error)

	// BeginRun notes, before a suspect runs, that this life runs it, for ttl
	// from now. ErrConflict: another does, or did and its crash was not counted.
	BeginRun(ctx context.Context, key SuspectKey, life string, ttl time.Duration) error

	// ExtendRun prolongs that to ttl from now. ErrStaleToken: this life does not
	// run it any more, as others see it.
	ExtendRun(ctx context.Context, key SuspectKey, life string, ttl time.Duration) error

	// EndRun notes that the run has ended and the process lives. Where this life
	// does not run the suspect it does nothing.
	EndRun(ctx context.Context, key SuspectKey, life string) error

	// ClearSuspect forgets the suspect: the message has an outcome.
	ClearSuspect(key SuspectKey) pipeline.Write

	// EndLife records that a process is gone, and what ran when it died: none
	// after a stop in order. Of a suspect that ran this counts the crash, any
	// other message becomes a suspect. To repeat it changes nothing.
	EndLife(ctx context.Context, life string, ran []Suspect) error

	// Suspects lists those whose last crash is not before that time, the last
	// one first, up to MaxPage of them.
	Suspects(ctx context.Context, since time.Time) ([]Suspect, error)

	// ExpireSuspects deletes those whose last crash is before that time: their
	// messages came to an end elsewhere. It returns how many.
	ExpireSuspects(ctx context.Context, before time.Time) (int, error)
}
