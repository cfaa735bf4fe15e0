package store

import (
	"context"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// LogEntry is what happened to a message in a handler: one a message and
// handler, however often it was tried.
type LogEntry struct {
	ID           int64 // the store's name for it; rises with each new one
	Handler      string
	Message      string
	State        State
	Topic        string
	Subscription string
	Partition    int32
	Offset       int64 // -1 where the broker has none
	Key          string
	Correlation  string
	Causation    string
	Reason       pipeline.Reason // of the last failure; "": it never failed
	Error        string
	At           time.Time // of the last change
	Size         int       // of the payload as it came, in bytes
	Outputs      []string  // ids of what was published, last
	Attempts     []Attempt // oldest first

	// Content is what may be kept of it: masked, or empty, as the config says.
	Content
}

// Attempt is one run of a handler. Times are kept to the microsecond.
type Attempt struct {
	At       time.Time
	Duration time.Duration
	Worker   string // instance and slot
	Reason   pipeline.Reason
	Error    string
	Lines    []LogLine // what the handler logged meanwhile
	Cut      int       // lines beyond what is kept
}

// LogLine is one line that a handler logged while it had the message.
type LogLine struct {
	At    time.Time
	Level string
	Text  string
	Attrs map[string]string
}

// Log is the message log. It has no part in any outcome: what goes into it is
// written in batches, beside the work (LogWriter), and with SQLite into a file
// of its own, which a power loss may cost its last moments.
type Log interface {
	// AppendLog writes entries in one transaction. One that is there already
	// gets the new state, story and outputs; new attempts follow the old ones;
	// its content stays unless the new one has a payload. Of Attempts only those
	// are given that were not before.
	AppendLog(ctx context.Context, entries []LogEntry) error

	// LogEntry returns one entry. ErrNotFound: there is none, or no more.
	LogEntry(ctx context.Context, handler, message string) (LogEntry, error)

	// SearchLog returns a page of the entries that match, newest first.
	// FieldText looks into the attempts, too: errors and lines.
	SearchLog(ctx context.Context, q LogQuery) (LogPage, error)

	// TrimLog deletes a chunk of what one rule says and returns how many it
	// deleted. 0: nothing is left to delete.
	TrimLog(ctx context.Context, rule LogRule) (int, error)
}

// LogQuery asks for a page of entries.
type LogQuery struct {
	Filter Filter
	Limit  int    // default DefaultPage, at most MaxPage
	Cursor string // of the page before; "": the first page
	Bare   bool   // without Headers, Payload and Attempts
}

// LogPage is an answer to it, shorter than Limit where the entries, unless they
// are bare, are larger than PageBytes together.
type LogPage struct {
	Entries []LogEntry
	Next    string // the cursor of the next page; "": this is the last
}

// LogRule bounds what is kept of one state: by age, by size, or both.
type LogRule struct {
	State  State
	Before time.Time // unchanged since before that: may go; zero: no bound
	Bytes  int64     // the newest that together have so many bytes stay; 0: no bound
	Limit  int       // at most so many; at most MaxPage, which is also the default
}
