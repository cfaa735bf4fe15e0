package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// handlerState is what one handler remembers, in the store.
type handlerState struct {
	documents store.Documents
	handler   string
	patience  time.Duration // with one question
}

// loadAtMost is how long a handler's question may take.
const loadAtMost = 5 * time.Second

// stateOf returns what the handler remembers, nil without a store.
func (e *Engine) stateOf(h pipeline.Handler) pipeline.State {
	if e.opts.Store == nil {
		return nil
	}
	patience := loadAtMost
	if h.Timeout > 0 {
		patience = min(patience, h.Timeout/2)
	}
	return handlerState{e.opts.Store, h.Name, patience}
}

// Load implements pipeline.State. A store that does not answer is away, and is
// found to be before the run is cut off: that would be a failure of the message.
func (s handlerState) Load(ctx context.Context, key string) ([]byte, int64, error) {
	asking, cancel := context.WithTimeout(ctx, s.patience)
	defer cancel()
	d, err := s.documents.Document(asking, s.handler, key)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		err = fmt.Errorf("%w: no answer within %s: %w", store.ErrUnavailable, s.patience, err)
	}
	return d.Value, d.Version, err
}

// Save implements pipeline.State. A conflict is permanent for the Write: only
// the kind can make a new one.
func (s handlerState) Save(key string, version int64, value []byte, keep time.Duration) pipeline.Write {
	write := s.documents.SaveDocument(store.SaveParams{Handler: s.handler, Key: key, Version: version, Value: value, Keep: keep})
	return func(tx any) error {
		err := write(tx)
		if errors.Is(err, store.ErrConflict) {
			return pipeline.Permanent(fmt.Errorf("%w: %w", pipeline.ErrOutdated, err))
		}
		return err
	}
}

// expireEvery is how often what handlers remember is looked through.
const expireEvery = 10 * time.Minute

// expire deletes what handlers need not remember any more, for as long as the
// engine lives.
func (e *Engine) expire() {
	for {
		for n := store.MaxPage; n == store.MaxPage; {
			var err error
			if n, err = e.opts.Store.ExpireDocuments(e.life, store.MaxPage); err != nil && e.life.Err() == nil {
				e.log.Warn("the state of handlers is not tidied up: "+err.Error(), "again_in", expireEvery)
			}
		}
		select {
		case <-time.After(expireEvery):
		case <-e.life.Done():
			return
		}
	}
}
