package dashboard

import (
	"time"
	"unicode/utf8"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// LogEntry is what happened to a message in a handler. The payload is as the
// message log may keep it: masked, or left out.
type LogEntry struct {
	Handler       string            `json:"handler"`
	Message       string            `json:"message"`
	State         store.State       `json:"state"`
	Topic         string            `json:"topic"`
	Subscription  string            `json:"subscription"`
	Partition     int32             `json:"partition"`
	Offset        int64             `json:"offset" doc:"-1 where the broker has none"`
	Key           string            `json:"key"`
	Correlation   string            `json:"correlation"`
	Causation     string            `json:"causation,omitempty" doc:"id of the message that this one came from"`
	Reason        pipeline.Reason   `json:"reason,omitempty" doc:"of the last failure"`
	Error         string            `json:"error,omitempty"`
	At            time.Time         `json:"at" doc:"of the last change; IN_PROGRESS: since when"`
	Size          int               `json:"size" doc:"of the payload as it came, in bytes"`
	Outputs       []string          `json:"outputs,omitempty" doc:"ids of what was published"`
	Attempts      []LogAttempt      `json:"attempts,omitempty" doc:"oldest first"`
	Headers       map[string]string `json:"headers,omitempty"`
	Payload       *string           `json:"payload,omitempty" doc:"as text"`
	PayloadBase64 []byte            `json:"payload_base64,omitempty" doc:"where it is no text"`
}

// LogAttempt is one run of the handler.
type LogAttempt struct {
	At         time.Time       `json:"at"`
	DurationMS float64         `json:"duration_ms" doc:"0: it is still running"`
	Worker     string          `json:"worker,omitempty" doc:"instance and slot"`
	Reason     pipeline.Reason `json:"reason,omitempty"`
	Error      string          `json:"error,omitempty"`
	Lines      []LogLine       `json:"lines,omitempty" doc:"what the handler logged meanwhile"`
	Cut        int             `json:"cut,omitempty" doc:"lines beyond what is kept"`
}

// LogLine is one line that the handler logged for this message.
type LogLine struct {
	At    time.Time         `json:"at"`
	Level string            `json:"level"`
	Text  string            `json:"text"`
	Attrs map[string]string `json:"attrs,omitempty"`
}

func newLogEntry(e store.LogEntry) LogEntry {
	out := LogEntry{
		Handler: e.Handler, Message: readable(e.Message), State: e.State, Topic: e.Topic, Subscription: e.Subscription,
		Partition: e.Partition, Offset: e.Offset, Key: readable(e.Key), Correlation: readable(e.Correlation), Causation: readable(e.Causation),
		Reason: e.Reason, Error: readable(e.Error), At: e.At.UTC(), Size: e.Size, Outputs: e.Outputs,
	}
	for _, a := range e.Attempts {
		attempt := LogAttempt{
			At: a.At.UTC(), DurationMS: float64(a.Duration.Microseconds()) / 1000, Worker: a.Worker,
			Reason: a.Reason, Error: readable(a.Error), Cut: a.Cut,
		}
		for _, line := range a.Lines {
			attempt.Lines = append(attempt.Lines, newLogLine(line))
		}
		out.Attempts = append(out.Attempts, attempt)
	}
	for k, v := range e.Headers {
		if out.Headers == nil {
			out.Headers = make(map[string]string, len(e.Headers))
		}
		out.Headers[readable(k)] = readable(v)
	}
	if text := string(e.Payload); len(text) > 0 && utf8.ValidString(text) {
		out.Payload = &text
	} else if len(text) > 0 {
		out.PayloadBase64 = e.Payload
	}
	return out
}

func newLogLine(line store.LogLine) LogLine {
	out := LogLine{At: line.At.UTC(), Level: line.Level, Text: readable(line.Text)}
	for k, v := range line.Attrs {
		if out.Attrs == nil {
			out.Attrs = make(map[string]string, len(line.Attrs))
		}
		out.Attrs[readable(k)] = readable(v)
	}
	return out
}
