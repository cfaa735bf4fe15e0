package messagelog

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// EventKind is what happened to a message.
type EventKind string

// The kinds of an Event.
const (
	EventBegan  EventKind = "began"  // a run began
	EventLine   EventKind = "line"   // the handler logged something
	EventFailed EventKind = "failed" // a run ended with an error
	EventEnded  EventKind = "ended"  // the handler is done with the message
)

// Event is something that happened to a message just now.
type Event struct {
	At          time.Time
	Kind        EventKind
	Handler     string
	Message     string
	Correlation string
	Key         string
	Attempt     int // of this handling, from 1
	State       store.State
	Reason      pipeline.Reason
	Error       string
	Line        *store.LogLine // of EventLine
	Missed      int            // events before this one that the watcher was too slow for
}

// ErrClosed ends a Watch when the log is closed.
var ErrClosed = errors.New("waybill is stopping")

// feed tells watchers what happens. Without one it costs a message nothing but
// a look.
type feed struct {
	watched  atomic.Int64
	mu       sync.Mutex
	watchers map[*watcher]struct{}
	closed   bool
}

// watcher is one who watches.
type watcher struct {
	filter store.Filter
	events chan Event
	missed int
}

// How many events a watcher may be behind.
const maxBehind = 1024

// Watch calls each with what happens to messages that the filter is true of,
// until ctx ends, each fails, or the log is closed. ready is called when
// nothing is missed any more. Nobody is waited for: who is too slow is told how
// much was missed.
func (l *Log) Watch(ctx context.Context, filter store.Filter, ready func(), each func(Event) error) error {
	w := &watcher{filter: filter, events: make(chan Event, maxBehind)}
	if !l.feed.add(w) {
		return ErrClosed
	}
	defer l.feed.remove(w)
	ready()
	for {
		select {
		case e, open := <-w.events:
			if !open {
				return ErrClosed
			}
			if err := each(e); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *feed) add(w *watcher) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return false
	}
	if f.watchers == nil {
		f.watchers = make(map[*watcher]struct{})
	}
	f.watchers[w] = struct{}{}
	f.watched.Add(1)
	return true
}

func (f *feed) remove(w *watcher) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.watchers, w)
	f.watched.Add(-1)
}

func (f *feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for w := range f.watchers {
		close(w.events)
	}
	clear(f.watchers)
}

// tell passes an event of h to those whom it concerns. h is locked.
func (h *Handling) tell(e Event) {
	f := &h.log.feed
	if f.watched.Load() == 0 {
		return
	}
	e.At, e.Attempt = time.Now(), len(h.attempts)
	e.Handler, e.Message, e.Key = h.route.Handler, h.msg.UUID, h.key
	e.Correlation = h.id.Correlation
	r := h.record(e)
	f.mu.Lock()
	defer f.mu.Unlock()
	for w := range f.watchers {
		if w.filter.Match(r) {
			w.offer(e)
		}
	}
}

func (w *watcher) offer(e Event) {
	e.Missed = w.missed
	select {
	case w.events <- e:
		w.missed = 0
	default:
		w.missed++
	}
}

// record is what filters see of an event's message.
func (h *Handling) record(e Event) *store.Record {
	story := ""
	if e.Line != nil {
		story = e.Line.Text
	}
	return &store.Record{
		Story: story,
		Texts: map[store.Field]string{
			store.FieldMessage: e.Message, store.FieldHandler: e.Handler, store.FieldTopic: h.route.Topic, store.FieldKey: e.Key,
			store.FieldCorrelation: e.Correlation, store.FieldState: string(e.State), store.FieldReason: string(e.Reason), store.FieldError: e.Error,
		},
		Time: e.At, Content: h.log.content(h.msg),
	}
}
