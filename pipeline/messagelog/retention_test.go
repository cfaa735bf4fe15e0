package messagelog

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// TestRetention: each state by its own rule, in chunks until nothing is left,
// every minute; trouble is told, and does not end it.
func TestRetention(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		rules := map[store.State]store.LogRule{}
		calls, left := 0, 1200
		broken := false
		s := &stub{trim: func(r store.LogRule) (int, error) {
			mu.Lock()
			defer mu.Unlock()
			if broken {
				return 0, errors.New("disk full")
			}
			calls++
			rules[r.State] = r
			gone := min(left, r.Limit)
			left -= gone
			return gone, nil
		}}
		var troubles int
		begun := time.Now()
		l := New(Options{
			Config: pipeline.MessageLog{
				Mode: pipeline.LogAll, Retention: pipeline.Retention{Age: time.Hour, Bytes: 1000}, Failures: pipeline.Retention{Age: -1, Bytes: 2000},
			}, Store: s, Trouble: func(error) { troubles++ },
		})
		synctest.Wait()
		require.Equal(t, 4+2, calls, "500, 500, 200, none, and once for each other state")
		require.Equal(t, map[store.State]store.LogRule{
			store.Completed: {State: store.Completed, Before: begun.Add(-time.Hour), Bytes: 1000, Limit: trimChunk},
			store.Retrying:  {State: store.Retrying, Bytes: 2000, Limit: trimChunk},
			store.Dead:      {State: store.Dead, Bytes: 2000, Limit: trimChunk},
		}, rules)
		mu.Lock()
		broken = true
		mu.Unlock()
		time.Sleep(trimEvery) //nolint:forbidigo // synctest's clock
		synctest.Wait()
		require.Equal(t, 3, troubles)
		mu.Lock()
		broken, left = false, 1
		mu.Unlock()
		time.Sleep(trimEvery) //nolint:forbidigo // synctest's clock
		synctest.Wait()
		require.Zero(t, left)
		l.Close()
	})
}

// TestRetention_ForEver: no bound, no delete.
func TestRetention_ForEver(t *testing.T) {
	t.Parallel()
	s := &stub{trim: func(store.LogRule) (int, error) { panic("trimmed") }}
	forever := pipeline.Retention{Age: -1, Bytes: -1}
	New(Options{Config: pipeline.MessageLog{Mode: pipeline.LogAll, Retention: forever, Failures: forever}, Store: s}).Close()
}
