package dashboard

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func registerLog(api huma.API, opts Options) {
	l := messageLog{opts.Store, opts.Messages}
	huma.Register(api, huma.Operation{
		OperationID: "search-log", Method: http.MethodGet, Path: "/api/v1/log", Summary: "Search the message log",
		Description: "Newest first, a row a message and handler. The first page begins with what this process is handling right now, beyond the limit.",
		Errors:      []int{http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *searchLogInput) (*searchLogOutput, error) {
		out := &searchLogOutput{}
		var err error
		out.Body.Entries, out.Body.Next, err = l.search(ctx, in)
		return out, apiErrorOrNil(err)
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-log-entry", Method: http.MethodGet, Path: "/api/v1/log/{handler}/{message}", Summary: "One message in one handler",
		Description: "With every attempt and the lines that the handler logged. Escape slashes in the message's id as %2F.",
		Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *logEntryInput) (*logEntryOutput, error) {
		e, err := l.entry(ctx, in.Handler, in.Message)
		return &logEntryOutput{newLogEntry(e)}, apiErrorOrNil(err)
	})
	huma.Register(api, huma.Operation{
		OperationID: "get-journey", Method: http.MethodGet, Path: "/api/v1/messages/{id}", Summary: "The journey of a message",
		Description: "The message in every handler, with all messages of its conversation (correlation id), oldest first. The id may also be that of a conversation.",
		Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *journeyInput) (*journeyOutput, error) {
		out := &journeyOutput{}
		var err error
		out.Body.Entries, out.Body.Truncated, err = l.journey(ctx, in.ID)
		return out, apiErrorOrNil(err)
	})
	registerLogTail(api, opts)
}

type searchLogInput struct {
	LogCondition
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
	Cursor string `query:"cursor" doc:"next of the page before"`
	Bare   bool   `query:"bare" doc:"without headers, payload and attempts"`
}

type searchLogOutput struct {
	Body struct {
		Entries []LogEntry `json:"entries"`
		Next    string     `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
	}
}

type logEntryInput struct {
	Handler string `path:"handler"`
	Message string `path:"message"`
}

type logEntryOutput struct{ Body LogEntry }

type journeyInput struct {
	ID string `path:"id"`
}

type journeyOutput struct {
	Body struct {
		Entries   []LogEntry `json:"entries"`
		Truncated bool       `json:"truncated,omitempty" doc:"there are more than are shown: search by correlation"`
	}
}

// messageLog is the log as it is stored, and what is being handled before it.
type messageLog struct {
	stored store.Log
	live   *messagelog.Log // nil: nothing is
}

func (l messageLog) running() []store.LogEntry {
	if l.live == nil {
		return nil
	}
	return l.live.Running()
}

// name is what there is one entry of.
type name struct{ handler, message string }

func nameOf(e store.LogEntry) name { return name{e.Handler, e.Message} }

func (l messageLog) search(ctx context.Context, in *searchLogInput) ([]LogEntry, string, error) {
	filter, err := in.Filter()
	if err != nil {
		return nil, "", err
	}
	// Looked at first: what ends meanwhile is then in the page, or in both.
	now := make(map[name]bool)
	var running []store.LogEntry
	for _, e := range l.running() {
		now[nameOf(e)] = true
		if filter.Match(recordOf(e)) {
			running = append(running, e)
		}
	}
	page, err := l.stored.SearchLog(ctx, store.LogQuery{Filter: filter, Limit: in.Limit, Cursor: in.Cursor, Bare: in.Bare})
	if err != nil {
		return nil, "", err
	}
	entries := []LogEntry{}
	if in.Cursor == "" {
		for _, e := range running {
			if in.Bare {
				e.Content, e.Attempts = store.Content{}, nil
			}
			entries = append(entries, newLogEntry(e))
		}
	}
	for _, e := range page.Entries {
		if !now[nameOf(e)] {
			entries = append(entries, newLogEntry(e))
		}
	}
	return entries, page.Next, nil
}

// entry is one message in one handler: what is stored, and after it what
// happens now.
func (l messageLog) entry(ctx context.Context, handler, message string) (store.LogEntry, error) {
	running := l.running()
	e, err := l.stored.LogEntry(ctx, handler, message)
	i := slices.IndexFunc(running, func(r store.LogEntry) bool { return nameOf(r) == name{handler, message} })
	if i < 0 || err != nil && !errors.Is(err, store.ErrNotFound) {
		return e, err
	}
	now := running[i]
	now.Attempts = append(e.Attempts, now.Attempts...)
	return now, nil
}

// maxConversations bounds what a journey is made of: equal messages may share
// an id that is made of their content.
const maxConversations = 10

func (l messageLog) journey(ctx context.Context, id string) (entries []LogEntry, truncated bool, err error) {
	seen := make(map[name]bool)
	var found []store.LogEntry
	add := func(e store.LogEntry) {
		if !seen[nameOf(e)] {
			seen[nameOf(e)] = true
			found = append(found, e)
		}
	}
	take := func(f store.Filter) error {
		for _, e := range l.running() {
			if f.Match(recordOf(e)) {
				add(e)
			}
		}
		page, err := l.stored.SearchLog(ctx, store.LogQuery{Filter: f, Limit: store.MaxPage})
		for _, e := range page.Entries {
			add(e)
		}
		truncated = truncated || page.Next != ""
		return err
	}
	if err := take(store.Is(store.FieldMessage, id)); err != nil {
		return nil, false, err
	}
	conversations := []string{id}
	for _, e := range found {
		if e.Correlation != "" && !slices.Contains(conversations, e.Correlation) {
			conversations = append(conversations, e.Correlation)
		}
	}
	for _, c := range conversations[:min(len(conversations), maxConversations)] {
		if err := take(store.Is(store.FieldCorrelation, c)); err != nil {
			return nil, false, err
		}
	}
	if len(found) == 0 {
		return nil, false, fmt.Errorf("message %s in the message log: %w", id, store.ErrNotFound)
	}
	slices.SortStableFunc(found, func(a, b store.LogEntry) int { return cmp.Compare(begin(a), begin(b)) })
	for _, e := range found {
		entries = append(entries, newLogEntry(e))
	}
	return entries, truncated, nil
}

// begin is when a message was first handled.
func begin(e store.LogEntry) int64 {
	if len(e.Attempts) > 0 {
		return e.Attempts[0].At.UnixMicro()
	}
	return e.At.UnixMicro()
}

// recordOf is what filters see of what is being handled.
func recordOf(e store.LogEntry) *store.Record {
	r := &store.Record{
		Texts: map[store.Field]string{
			store.FieldMessage: e.Message, store.FieldHandler: e.Handler, store.FieldTopic: e.Topic, store.FieldKey: e.Key,
			store.FieldCorrelation: e.Correlation, store.FieldState: string(e.State), store.FieldReason: string(e.Reason), store.FieldError: e.Error,
		},
		Time: e.At, Content: e.Content,
	}
	for _, a := range e.Attempts {
		r.Story += a.Error + "\n"
		for _, line := range a.Lines {
			r.Story += line.Text + "\n"
		}
	}
	return r
}
