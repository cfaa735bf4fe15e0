package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// LogEvent is something that happened to a message just now.
type LogEvent struct {
	At          time.Time            `json:"at"`
	Event       messagelog.EventKind `json:"event"`
	Handler     string               `json:"handler"`
	Message     string               `json:"message"`
	Correlation string               `json:"correlation"`
	Key         string               `json:"key"`
	Attempt     int                  `json:"attempt"`
	State       store.State          `json:"state"`
	Reason      pipeline.Reason      `json:"reason,omitempty"`
	Error       string               `json:"error,omitempty"`
	Line        *LogLine             `json:"line,omitempty"`
	Missed      int                  `json:"missed,omitempty"`
}

func newLogEvent(e messagelog.Event) LogEvent {
	out := LogEvent{
		At: e.At.UTC(), Event: e.Kind, Handler: e.Handler, Message: readable(e.Message), Correlation: readable(e.Correlation),
		Key: readable(e.Key), Attempt: e.Attempt, State: e.State, Reason: e.Reason, Error: readable(e.Error), Missed: e.Missed,
	}
	if e.Line != nil {
		line := newLogLine(*e.Line)
		out.Line = &line
	}
	return out
}

type logTailInput struct{ LogCondition }

func registerLogTail(api huma.API, opts Options) {
	huma.Register(api, huma.Operation{
		OperationID: "tail-log", Method: http.MethodGet, Path: "/api/v1/log/tail", Summary: "Watch what happens to messages",
		Description: "A line of JSON an event, for as long as the client stays, of the messages that this process handles: a run began, " +
			"the handler logged a line, a run failed, the message ended. Nobody waits for a client that is slow: it is told how much it missed.",
		Errors: []int{http.StatusConflict},
	}, func(ctx context.Context, in *logTailInput) (*huma.StreamResponse, error) {
		filter, err := in.Filter()
		if err != nil {
			return nil, apiError(err)
		}
		if opts.Messages == nil {
			return nil, huma.Error409Conflict("there is nothing to watch: message_log.mode is off")
		}
		f := newFeed()
		go f.run(func() error {
			return opts.Messages.Watch(ctx, filter, f.begin, func(e messagelog.Event) error {
				line, err := json.Marshal(newLogEvent(e), json.Deterministic(true))
				if err != nil {
					return err
				}
				return f.send(ctx, line)
			})
		})
		select {
		case <-f.ready:
		case <-f.ended: // waybill is stopping
			return nil, huma.Error503ServiceUnavailable(f.err.Error())
		}
		return &huma.StreamResponse{Body: f.stream}, nil
	})
}
