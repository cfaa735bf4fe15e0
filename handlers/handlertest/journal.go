package handlertest

import (
	"bytes"
	"encoding/json"
	"log/slog"
	"sync"
)

// journal keeps what a handler logs, one JSON object a line.
type journal struct {
	mu    sync.Mutex
	bytes bytes.Buffer
}

// Write appends to the journal; slog calls it once a record.
func (j *journal) Write(record []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes.Write(record)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.bytes.String()
}

// Log returns the text of what the handler logged at level info and above, in
// order.
func (h *Handler) Log() []string { return h.LogAt(slog.LevelInfo) }

// LogAt returns the text of what the handler logged at this level and above.
func (h *Handler) LogAt(lowest slog.Level) []string {
	h.t.Helper()
	var lines []string
	dec := json.NewDecoder(bytes.NewBufferString(h.log.String()))
	for dec.More() {
		var record struct {
			Level slog.Level
			Msg   string
		}
		if err := dec.Decode(&record); err != nil {
			h.t.Fatalf("read the log: %v", err)
		}
		if record.Level >= lowest {
			lines = append(lines, record.Msg)
		}
	}
	return lines
}

// LogText returns all that was logged at any level, attributes included, for
// tests that look for what must not be there.
func (h *Handler) LogText() string { return h.log.String() }
