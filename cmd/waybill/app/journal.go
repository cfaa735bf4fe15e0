package app

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/journal"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// noteTimeout bounds how long /ready waits for the store's answer.
const noteTimeout = time.Second

// openJournal opens the attempt journal in the data folder. What ran when the
// process before died is in the store then.
func openJournal(p pipeline.Pipeline, s store.Store, log *slog.Logger) (*journal.Journal, error) {
	ctx, cancel := context.WithTimeout(context.Background(), openTimeout)
	defer cancel()
	slots := 0
	for _, h := range p.Handlers {
		slots += max(h.Concurrency, 1)
	}
	return journal.Open(ctx, journal.Options{File: filepath.Join(p.Data, "slots"), Slots: slots, Store: s, Log: log})
}

// suspectNotes tells how many messages may have killed a process and have not
// come to an end yet, and names those that hang.
func suspectNotes(j *journal.Journal) []string {
	var notes []string
	for _, key := range j.Hanging() {
		notes = append(notes, fmt.Sprintf("suspects: %s of %s ran alone and does not end: others go on beside it, "+
			"and it keeps its place in its handler until a restart", key.Message, key.Handler))
	}
	ctx, cancel := context.WithTimeout(context.Background(), noteTimeout)
	defer cancel()
	switch n, err := j.Suspects(ctx); {
	case err != nil:
		notes = append(notes, fmt.Sprintf("suspects: not known: %v", err))
	case n > 0:
		notes = append(notes, fmt.Sprintf("suspects: %d messages were in hand when a process died: they run alone", n))
	}
	return notes
}
