// Package storetest is the suite that every store passes: Exercise runs it.
//
// Besides plain examples it holds a driver to models: random moves of letters
// to a table in memory, random lives of delayed messages to a queue in memory,
// random filters to store.Filter.Match.
package storetest

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Harness opens a driver's stores.
type Harness struct {
	// Open opens an empty store that is closed with the test. A second call with
	// the same place opens what the first has, as another instance if the driver
	// takes several.
	Open func(t testing.TB, place string, opts store.Options) store.Store
	// Place returns the name of a place that nobody has.
	Place func(t testing.TB) string
}

// Exercise runs the suite.
func Exercise(t *testing.T, h Harness) {
	t.Run("DeadLetters", func(t *testing.T) { t.Parallel(); deadLetters(t, h) })
	t.Run("Groups", func(t *testing.T) { t.Parallel(); groups(t, h) })
	t.Run("Filters", func(t *testing.T) { t.Parallel(); filters(t, h) })
	t.Run("States", func(t *testing.T) { t.Parallel(); states(t, h) })
	t.Run("Receipts", func(t *testing.T) { t.Parallel(); receipts(t, h) })
	t.Run("Delayed", func(t *testing.T) { t.Parallel(); delayed(t, h) })
	t.Run("Audit", func(t *testing.T) { t.Parallel(); audit(t, h) })
	t.Run("Selections", func(t *testing.T) { t.Parallel(); selections(t, h) })
	t.Run("Replays", func(t *testing.T) { t.Parallel(); replays(t, h) })
	t.Run("Suspects", func(t *testing.T) { t.Parallel(); suspects(t, h) })
	t.Run("Documents", func(t *testing.T) { t.Parallel(); documents(t, h) })
	t.Run("MessageLog", func(t *testing.T) { t.Parallel(); messageLog(t, h) })
	t.Run("Writes", func(t *testing.T) { t.Parallel(); writes(t, h) })
}

// ctx is for what takes no test.
var ctx = context.Background()

// clock is a time that stands until it is set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func newClock() *clock { return &clock{now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)} }

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// fresh opens an empty store with a clock of its own.
func (h Harness) fresh(t testing.TB) (store.Store, *clock) {
	t.Helper()
	c := newClock()
	return h.Open(t, h.Place(t), store.Options{Now: c.Now}), c
}

// do makes writes that must succeed.
func do(t require.TestingT, s store.Store, writes ...pipeline.Write) {
	require.NoError(t, s.Do(ctx, writes...))
}

// letter returns a dead letter that differs by n.
func letter(n int) store.DeadLetter {
	died := time.Date(2026, 2, 1, 8, 0, n, 1000, time.UTC)
	return store.DeadLetter{
		Handler: "prepare", Message: fmt.Sprintf("m-%d", n), Topic: "orders-in", Subscription: "orders-in.prepare",
		Partition: 2, Offset: int64(n), Key: fmt.Sprintf("k-%d", n%7), Correlation: "c-1",
		Reason: pipeline.ReasonUnavailable, Error: fmt.Sprintf("call warehouse: 503 for %d", n), ErrorType: "*url.Error",
		Stack: "goroutine 1", Fingerprint: fmt.Sprintf("f-%d", n%3), Attempts: 3, First: died.Add(-time.Minute), Last: died,
		Copy: fmt.Sprint(n),
		Content: store.Content{
			Headers: map[string]string{"tenant": fmt.Sprintf("t-%d", n%4), "content-type": "application/json"},
			Payload: []byte(fmt.Sprintf(`{"orderId": "o-%d", "total": 1.50, "lines": [{"sku": "s-%d"}]}`, n, n%5)),
		},
	}
}

// bury keeps letters and returns them as the store has them.
func bury(t testing.TB, s store.Store, letters ...store.DeadLetter) []store.DeadLetter {
	t.Helper()
	writes := make([]pipeline.Write, len(letters))
	for i, l := range letters {
		writes[i] = s.Bury(l)
	}
	do(t, s, writes...)
	found := make([]store.DeadLetter, len(letters))
	for i, l := range letters {
		page, err := s.Letters(t.Context(), store.LetterQuery{Filter: store.And(
			store.Is(store.FieldMessage, l.Message), store.Is(store.FieldHandler, l.Handler))})
		require.NoError(t, err)
		require.Len(t, page.Letters, 1)
		found[i] = page.Letters[0]
	}
	return found
}
