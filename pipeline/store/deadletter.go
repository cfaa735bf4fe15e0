package store

import (
	"context"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// DeadLetter is a message that failed for good in one handler. There is one a
// message and handler, however often it dies. Times are kept to the
// microsecond.
type DeadLetter struct {
	ID      int64 // the store's name for it; rises with each new one
	State   State // Dead, Replaying, Archived or Completed
	Version int64 // rises with every change; what an edit must have seen

	Handler      string
	Message      string // the message's id, where it is too long ShortID of it
	Topic        string // where it was read
	Subscription string
	Partition    int32
	Offset       int64 // -1 where the broker has none
	Key          string
	Correlation  string

	Reason      pipeline.Reason
	Error       string
	ErrorType   string
	Stack       string
	Fingerprint string // groups letters of one cause
	Attempts    int
	First, Last time.Time // failures

	// Copy tells this death from others of the same message: the archiver
	// takes what is the same however often the broker hands out this copy,
	// and different for the next death (the time of the last failure; for a
	// foreign one its position or a hash). Bury does nothing for a copy that it
	// has seen. It is returned only where it tells letters apart, too: of
	// messages that share an id.
	Copy string

	Deaths  int // copies that were buried
	Replays int
	Parked  bool // it was replayed too often: it came from its handler's parking topic
	Note    string
	Buried  time.Time // the first death's archiving
	Changed time.Time
	Expires time.Time // of an archived one; zero: never
	Edited  bool      // Content is not the original's: see Original

	Content
}

// DeadLetters keeps what failed for good.
type DeadLetters interface {
	// Bury keeps a letter as Dead: a new one, or another death of one that is
	// there, whatever its state, which then has the new story, keeps its
	// note, and keeps its content if that was edited. A copy that was buried
	// before changes nothing. Messages whose id is a hash of their content
	// (pipeline.MetaIDSource) share ids; each copy of those is a letter of its
	// own, unless l says with its ID that it is another death of that one. Of l it
	// reads also Handler to Last, Copy, Replays, Parked and Content; what is no
	// text among them is made one, but for ids, key and content, which stay as
	// they are. ErrInvalid: Handler, Message or Copy is missing.
	Bury(l DeadLetter) pipeline.Write

	// ImportLetters buries those of letters of whose message and handler there is
	// no letter, all in one transaction, and returns how many. What is there
	// stays as it is. with returns what belongs to it, to be made in the same
	// transaction; it is not called where none is new, and may be called again.
	ImportLetters(ctx context.Context, letters []DeadLetter, with func(fresh int) []pipeline.Write) (int, error)

	// MoveLetter changes the state of one letter.
	MoveLetter(m Move) pipeline.Write

	// CloseLetter makes the letter of a message that succeeded Completed, if
	// there is one that is Dead or Replaying. Of messages that share an id that
	// is the one with the given ID; 0: none of them.
	CloseLetter(handler, message string, letter int64) pipeline.Write

	// MoveLetters changes the state of the letters that are in m.From and match
	// at this moment, oldest first, m.Limit a transaction, and returns how many it
	// changed, also with an error. One that has left m.From meanwhile stays as it
	// is.
	MoveLetters(ctx context.Context, m MoveAll) (int, error)

	// EditLetter replaces the content of a Dead letter that still has this
	// version, and keeps the original if it is the first edit. It returns the
	// new version. ErrConflict: it was changed meanwhile, or is not Dead. with is
	// made in the same transaction.
	EditLetter(ctx context.Context, id, version int64, c Content, with ...pipeline.Write) (int64, error)

	// Original returns a letter's content as it died.
	Original(ctx context.Context, id int64) (Content, error)

	// NoteLetter and NoteGroup set what a person has to say; "" removes it. with
	// is made in the same transaction.
	NoteLetter(ctx context.Context, id int64, text string, with ...pipeline.Write) error
	NoteGroup(ctx context.Context, handler, fingerprint, text string, with ...pipeline.Write) error

	// Letter returns one letter.
	Letter(ctx context.Context, id int64) (DeadLetter, error)

	// Letters returns a page of those that match, newest first unless q says so.
	Letters(ctx context.Context, q LetterQuery) (LetterPage, error)

	// CountLetters returns how many match.
	CountLetters(ctx context.Context, f Filter) (int64, error)

	// Groups lists the groups of letters of one cause in one handler, the
	// latest first. It does not look at the letters: counts are kept.
	Groups(ctx context.Context, q GroupQuery) ([]Group, error)

	// LetterCounts counts the letters of each handler by state. It does not look
	// at them, as Groups.
	LetterCounts(ctx context.Context) (map[string]map[State]int64, error)

	// GroupBy counts the letters that match by the text of a header or of the
	// JSON value at a pointer, the largest group first, at most MaxPage. It looks
	// at each.
	GroupBy(ctx context.Context, f Filter, by By) ([]ValueGroup, error)

	// ExpireLetters deletes up to Limit letters whose time is up, and returns
	// how many.
	ExpireLetters(ctx context.Context, e Expiry) (int, error)
}

// Move is a change of one letter's state.
type Move struct {
	ID      int64
	To      State
	Version int64     // the version that the caller saw; 0: any
	Expires time.Time // with Archived: when it may go; zero: never
}

// MoveAll is a change of the state of all letters that match.
type MoveAll struct {
	Filter  Filter
	UpTo    int64 // the newest letter's id that is meant, so that who comes meanwhile is not; 0: all
	From    State
	To      State
	Expires time.Time // as in Move
	Limit   int       // letters a transaction; at most MaxPage, which is also the default

	// With returns what belongs to the change, to be made in each of its
	// transactions. It is given the letters that were moved, without Payload, Headers and Stack,
	// in no order, and is not called where there are none. It may be called
	// again for the same ones. Nil: nothing does.
	With func(moved []DeadLetter) []pipeline.Write
}

// LetterQuery asks for a page of letters.
type LetterQuery struct {
	Filter Filter
	Limit  int    // default DefaultPage, at most MaxPage
	Cursor string // of the page before; "": the first page
	Bare   bool   // without Payload, Headers and Stack
	Oldest bool   // oldest first
}

// PageBytes is about how much payload a page has at most, so that a thousand
// large messages are not in memory at once. A page has one in any case.
const PageBytes = 16 << 20

// LetterPage is an answer to it, shorter than Limit where the letters, unless
// they are bare, are larger than PageBytes together. What is buried while somebody turns pages
// appears on none of the later ones, or, oldest first, on the last.
type LetterPage struct {
	Letters []DeadLetter
	Next    string // the cursor of the next page; "": this is the last
}

// GroupQuery asks for groups.
type GroupQuery struct {
	Handler string // "": all
	All     bool   // also those with nothing that is Dead or Replaying
	Limit   int    // default DefaultPage, at most MaxPage
}

// Group is what is known of letters of one cause in one handler.
type Group struct {
	Handler     string
	Fingerprint string
	Reason      pipeline.Reason
	ErrorType   string
	Error       string // the latest
	Note        string
	First, Last time.Time // failures of all that were ever in it
	Counts      map[State]int64
}

// By names what to group by: one of the two.
type By struct {
	Header  string
	Pointer string // a JSON Pointer
}

// ValueGroup is the letters that share a value.
type ValueGroup struct {
	Value       string
	Missing     bool // they have no such value
	Count       int64
	First, Last time.Time
}

// Expiry says what may go.
type Expiry struct {
	Now       time.Time // archived letters whose time is up by then
	Completed time.Time // completed letters unchanged since before that; zero: none
	Limit     int       // at most MaxPage, which is also the default
}
