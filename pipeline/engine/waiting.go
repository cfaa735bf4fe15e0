package engine

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// How often what waits in the store is counted. Counting looks at each row, so
// with very many it takes at most that share of the time.
const (
	countEvery   = 5 * time.Second
	countTimeout = 30 * time.Second
	countShare   = 50
)

// waiting is what waits in the store, as last counted.
type waiting struct {
	counts atomic.Pointer[map[string]store.DelayedCount]
}

// of returns the count of a handler, and whether anything was counted yet.
func (w *waiting) of(handler string) (n store.DelayedCount, ok bool) {
	counts := w.counts.Load()
	if counts == nil {
		return n, false
	}
	return (*counts)[handler], true
}

// count counts until the engine stops.
func (e *Engine) count() {
	for e.life.Err() == nil {
		began := time.Now()
		ctx, cancel := context.WithTimeout(e.life, countTimeout)
		counts, err := e.opts.Store.CountDelayed(ctx)
		cancel()
		if err == nil {
			e.waiting.counts.Store(&counts)
		} else if e.life.Err() == nil {
			e.waiting.counts.Store(nil) // not known
			e.log.Debug("count delayed messages", "error", err)
		}
		select {
		case <-time.After(max(countEvery, countShare*time.Since(began))):
		case <-e.life.Done():
		}
	}
}
