package sqlstore

import (
	"fmt"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// keptAttempt is a store.Attempt in the column of attempts.
type keptAttempt struct {
	At     int64           `json:"at"`   // Unix microseconds
	Took   int64           `json:"took"` // microseconds
	Worker string          `json:"worker,omitzero"`
	Reason pipeline.Reason `json:"reason,omitzero"`
	Error  string          `json:"error,omitzero"`
	Lines  []keptLine      `json:"lines,omitzero"`
	Cut    int             `json:"cut,omitzero"`
}

type keptLine struct {
	At    int64             `json:"at"`
	Level string            `json:"level,omitzero"`
	Text  string            `json:"text"`
	Attrs map[string]string `json:"attrs,omitzero"`
}

// encodeAttempts writes a line of JSON each, so that those of a later entry
// need only be put behind.
func encodeAttempts(attempts []store.Attempt) (string, error) {
	var b strings.Builder
	for _, a := range attempts {
		kept := keptAttempt{
			At: micros(a.At), Took: a.Duration.Microseconds(), Worker: show(a.Worker), Reason: a.Reason, Error: show(a.Error), Cut: a.Cut,
		}
		for _, line := range a.Lines {
			kept.Lines = append(kept.Lines, keepLine(line))
		}
		text, err := json.Marshal(kept, json.Deterministic(true))
		if err != nil {
			return "", fmt.Errorf("write attempts: %w", err)
		}
		b.Write(text)
		b.WriteByte('\n')
	}
	return b.String(), nil
}

func keepLine(line store.LogLine) keptLine {
	kept := keptLine{At: micros(line.At), Level: show(line.Level), Text: show(line.Text)}
	for k, v := range line.Attrs {
		if kept.Attrs == nil {
			kept.Attrs = make(map[string]string, len(line.Attrs))
		}
		kept.Attrs[show(k)] = show(v)
	}
	return kept
}

func decodeAttempts(text string) (attempts []store.Attempt, err error) {
	for line := range strings.Lines(text) {
		var kept keptAttempt
		if err := json.Unmarshal([]byte(line), &kept); err != nil {
			return nil, fmt.Errorf("read attempts: %w", err)
		}
		a := store.Attempt{
			At: fromMicros(kept.At), Duration: time.Duration(kept.Took) * time.Microsecond, Worker: kept.Worker,
			Reason: kept.Reason, Error: kept.Error, Cut: kept.Cut,
		}
		for _, l := range kept.Lines {
			a.Lines = append(a.Lines, store.LogLine{At: fromMicros(l.At), Level: l.Level, Text: l.Text, Attrs: l.Attrs})
		}
		attempts = append(attempts, a)
	}
	return attempts, nil
}
