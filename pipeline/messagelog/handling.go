package messagelog

import (
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// What is kept of one handling at most.
const (
	maxLines     = 200
	maxLineBytes = 32 << 10 // of all its lines together
	maxText      = 4 << 10  // of one line or error, in bytes
)

// Handling is a message while a handler has it. It is for any number of
// goroutines: lines may come from those that a kind starts.
type Handling struct {
	log    *Log
	route  *Route
	msg    *message.Message // as it came; nobody changes its bytes and metadata
	id     pipeline.Identity
	origin *pipeline.Origin
	key    string
	again  bool // it was handled before: there may be an entry, which would tell of that for ever
	since  time.Time

	mu       sync.Mutex
	attempts []store.Attempt
	lines    int // that are kept
	room     int // bytes that further lines may take
	over     bool
}

var _ pipeline.Witness = (*Handling)(nil)

// Began implements pipeline.Witness.
func (h *Handling) Began(slot int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	run := store.Attempt{At: time.Now(), Worker: h.log.instance + "/" + strconv.Itoa(slot)}
	if len(h.attempts) == 1 && h.attempts[0].Worker == "" { // of the lines before the first run
		run.Lines, run.Cut = h.attempts[0].Lines, h.attempts[0].Cut
		h.attempts[0] = run
	} else {
		h.attempts = append(h.attempts, run)
	}
	h.tell(Event{Kind: EventBegan, State: store.InProgress})
}

// Ended implements pipeline.Witness.
func (h *Handling) Ended(err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	a := &h.attempts[len(h.attempts)-1]
	a.Duration = time.Since(a.At)
	if err != nil {
		a.Reason, a.Error = pipeline.ReasonOf(err), clip(err.Error())
		if stack := stackOf(err); stack != "" {
			h.keep(store.LogLine{At: time.Now(), Level: slog.LevelError.String(), Text: stack}, len(stack))
		}
		h.tell(Event{Kind: EventFailed, State: store.InProgress, Reason: a.Reason, Error: a.Error})
	}
}

// stackOf is where a panic happened, from its call on; "" of other errors.
func stackOf(err error) string {
	var traced interface{ StackTrace() string }
	if !errors.As(err, &traced) {
		return ""
	}
	stack := traced.StackTrace()
	if _, after, ok := strings.Cut(stack, "\npanic("); ok {
		stack = "panic(" + after
	}
	return clip(stack)
}

// note takes a line of the run that is under way. Lines of a message that is
// no longer handled are not its own.
func (h *Handling) note(line store.LogLine, size int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.over {
		return
	}
	if len(h.attempts) == 0 { // it waits for its turn
		h.attempts = append(h.attempts, store.Attempt{At: line.At})
	}
	h.tell(Event{Kind: EventLine, State: store.InProgress, Line: &line})
	h.keep(line, size)
}

// keep adds a line to the last attempt, or counts it where there is no room.
func (h *Handling) keep(line store.LogLine, size int) {
	a := &h.attempts[len(h.attempts)-1]
	if h.lines == maxLines || size > h.room {
		a.Cut++
		return
	}
	h.lines++
	h.room -= size
	a.Lines = append(a.Lines, line)
}

// End ends the handling with its outcome: no line is taken any more. It
// returns the entry for the log, and whether that is to be kept.
func (h *Handling) End(o *pipeline.Outcome) (e store.LogEntry, wanted bool) {
	state := store.Completed
	switch o.Result {
	case pipeline.ResultStopped, pipeline.ResultVoid: // it goes on elsewhere
		return e, false
	case pipeline.ResultDelayed:
		state = store.Retrying
	case pipeline.ResultDead:
		state = store.Dead
	}
	var text string
	if o.Err != nil {
		text = clip(o.Err.Error())
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.over = true
	h.tell(Event{Kind: EventEnded, State: state, Reason: o.Reason, Error: text})
	if !h.again && !h.log.wants(h.msg.UUID, o) {
		return e, false
	}
	e = h.entry(state)
	e.At, e.Reason, e.Error, e.Outputs, e.Attempts = time.Now(), o.Reason, text, slices.Clone(o.Outputs), h.attempts
	return e, true
}

// now is how things stand.
func (h *Handling) now() store.LogEntry {
	h.mu.Lock()
	defer h.mu.Unlock()
	e := h.entry(store.InProgress)
	e.At, e.Attempts = h.since, slices.Clone(h.attempts)
	return e
}

func (h *Handling) entry(state store.State) store.LogEntry {
	e := store.LogEntry{
		Handler: h.route.Handler, Message: h.msg.UUID, State: state, Topic: h.route.Topic, Subscription: h.route.Subscription,
		Offset: -1, Key: h.key, Correlation: h.id.Correlation, Causation: h.msg.Metadata.Get(pipeline.MetaCausationID),
		Size: len(h.msg.Payload), Content: h.log.content(h.msg),
	}
	if h.origin != nil {
		e.Partition, e.Offset = h.origin.Partition, h.origin.Offset
	}
	return e
}

// Close ends the handling: no line is taken any more.
func (h *Handling) Close() {
	h.mu.Lock()
	h.over = true
	h.mu.Unlock()
	h.log.forget(h)
}

// clip cuts text to what is kept of it, between characters.
func clip(text string) string {
	if len(text) <= maxText {
		return text
	}
	const mark = " …"
	n := maxText - len(mark)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return strings.Clone(text[:n]) + mark // the rest is let go
}
