package store

import (
	"context"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// ReplayState is where a replay stands.
type ReplayState string

// The states of a replay. Letters that were sent go on in each of them.
const (
	ReplayRunning   ReplayState = "running"   // it sends, or waits for what it sent
	ReplayPaused    ReplayState = "paused"    // by a person, or by itself: see Problem
	ReplayCancelled ReplayState = "cancelled" // it sends nothing any more
	ReplayDone      ReplayState = "done"      // the outcome of each letter is known
)

// CanMoveReplay reports whether a person may move a replay from one state to
// the other. Done it becomes by itself.
func CanMoveReplay(from, to ReplayState) bool { return slices.Contains(ReplayFrom(to), from) }

// ReplayFrom lists the states from which a person may move a replay to this one.
func ReplayFrom(to ReplayState) []ReplayState {
	switch to {
	case ReplayRunning:
		return []ReplayState{ReplayPaused}
	case ReplayPaused:
		return []ReplayState{ReplayRunning}
	case ReplayCancelled:
		return []ReplayState{ReplayRunning, ReplayPaused}
	case ReplayDone:
	}
	return nil
}

// ReplayOptions say how the letters of a replay are sent.
type ReplayOptions struct {
	Rate      float64 `json:"rate,omitzero"`       // letters a second; 0: as fast as it goes
	Ramp      []int   `json:"ramp,omitzero"`       // sizes of the first batches; the outcomes of one are known before the next is sent
	StopAfter int     `json:"stop_after,omitzero"` // it pauses when so many died again; 0: never
	Redirect  string  `json:"redirect,omitzero"`   // the topic to publish to, instead of the handler that failed
	Transform string  `json:"transform,omitzero"`  // an expression that edits each letter
	Overtake  bool    `json:"overtake,omitzero"`   // later messages of a key need not wait for a letter of it
}

// Replay is one run over a selection. Pending, Sent, Completed, Dead and
// Skipped add up to Count.
type Replay struct {
	ID        int64
	Selection int64
	Options   ReplayOptions
	By        string
	Why       string // in the person's words
	State     ReplayState
	Problem   string // why it paused by itself, or, running, why it does not go on now
	Started   time.Time
	Changed   time.Time

	Count     int64
	Pending   int64 // not sent yet
	Sent      int64 // and not known what became of them
	Completed int64
	Dead      int64 // again
	Skipped   int64
	Forgiven  int64 // of Dead, those that a person has seen and resumed it: StopAfter does not count them
}

// ItemState is what became of one letter in a replay.
type ItemState string

// The states of an item.
const (
	ItemPending   ItemState = "pending"
	ItemSent      ItemState = "sent"
	ItemCompleted ItemState = "completed"
	ItemDead      ItemState = "dead"    // it died again
	ItemSkipped   ItemState = "skipped" // it was not sent: Why says it
)

// ReplayItem is one letter of a replay.
type ReplayItem struct {
	Place  int64 // in the selection, from 1: the order of sending
	Letter int64
	Seen   int64 // the letter's version when it was selected
	State  ItemState
	Why    string
	Deaths int // the letter's when it was sent: more of them mean that it died again
}

// Candidate is a letter whose turn has come.
type Candidate struct {
	ReplayItem
	Now *DeadLetter // as it is now, whole; nil: it is gone
}

// ReplayLease is a replay in one instance's hands.
type ReplayLease struct {
	Replay
	Token string // proves the lease
}

// ReplayMove is a change of a replay's state.
type ReplayMove struct {
	ID      int64
	To      ReplayState
	Problem string // with ReplayPaused: why it pauses by itself
}

// ReplayQuery asks for a page of replays.
type ReplayQuery struct {
	Limit  int    // default DefaultPage, at most MaxPage
	Cursor string // of the page before; "": the first page
}

// ReplayPage is an answer to it.
type ReplayPage struct {
	Replays []Replay
	Next    string // the cursor of the next page; "": this is the last
}

// ItemQuery asks for a page of a replay's items.
type ItemQuery struct {
	Replay int64
	State  ItemState // "": all
	After  int64     // the Place behind which the page begins
	Limit  int       // default DefaultPage, at most MaxPage
}

// Replays keeps what replays did and have yet to do, so that one that was
// killed goes on where it was.
//
// A letter is sent in one transaction: AdvanceReplay notes it, MoveLetter makes
// it Replaying, Requeue puts its message before its handler. What became of it
// is read off the letter: Completed, or one more death.
type Replays interface {
	// StartReplay makes a replay of a selection. Of r it reads Selection,
	// Options, By and Why. with returns what belongs to it, and is made in the
	// same transaction; it may be nil.
	StartReplay(ctx context.Context, r Replay, with func(Replay) []pipeline.Write) (Replay, error)

	// MoveReplay pauses, resumes or cancels a replay. Nothing more is sent by it
	// when it is not running any more. ErrConflict: not from the state that it is
	// in. with is made in the same transaction.
	MoveReplay(ctx context.Context, m ReplayMove, with ...pipeline.Write) (Replay, error)

	// ReplayRun returns one replay.
	ReplayRun(ctx context.Context, id int64) (Replay, error)

	// ReplayRuns returns a page of them, the latest first.
	ReplayRuns(ctx context.Context, q ReplayQuery) (ReplayPage, error)

	// ReplayItems returns a page of a replay's letters, in the order of sending.
	ReplayItems(ctx context.Context, q ItemQuery) ([]ReplayItem, error)

	// LeaseReplay gives a replay that has something to do (it is running, or has
	// sent what it knows no outcome of) to the caller, until ttl has passed; ok is
	// false if there is none.
	LeaseReplay(ctx context.Context, ttl time.Duration) (l ReplayLease, ok bool, err error)

	// FollowReplay makes the lease last until ttl from now, looks what became of
	// letters that were sent, up to MaxPage at a time, and returns the replay,
	// which is Done if nothing is left to do. ErrStaleToken: it is somebody
	// else's.
	FollowReplay(ctx context.Context, l ReplayLease, ttl time.Duration) (Replay, error)

	// ReleaseReplay gives the lease back, with l's Problem if the replay is
	// running: why it does not go on, until it does. A stale one it leaves alone.
	ReleaseReplay(ctx context.Context, l ReplayLease) error

	// NextItems returns the letters whose turn is next, up to n, and about
	// PageBytes.
	NextItems(ctx context.Context, l ReplayLease, n int) ([]Candidate, error)

	// AdvanceReplay notes the states of the items that NextItems gave, or of the
	// first of them: what is noted has had its turn. ErrStaleToken: the replay is
	// somebody else's, has noted them already, or is not running any more and one
	// of them is Sent; what was published before it was paused is noted.
	AdvanceReplay(l ReplayLease, items []ReplayItem) pipeline.Write

	// ReviseLetter is EditLetter as a Write.
	ReviseLetter(id, version int64, c Content) pipeline.Write

	// ExpireReplays deletes up to limit rows of replays that ended, and of
	// selections that no replay has, unchanged since before that, and returns how
	// many.
	ExpireReplays(ctx context.Context, before time.Time, limit int) (int, error)
}
