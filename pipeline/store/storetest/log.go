package storetest

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// entry returns a log entry that differs by n.
func entry(n int) store.LogEntry {
	at := time.Date(2026, 2, 1, 8, 0, n, 1000, time.UTC)
	return store.LogEntry{
		Handler: "prepare", Message: fmt.Sprintf("m-%d", n), State: store.Completed, Topic: "orders-in", Subscription: "orders-in.prepare",
		Partition: 1, Offset: int64(n), Key: fmt.Sprintf("k-%d", n%7), Correlation: "c-1", Causation: "cause\xff", At: at, Size: 1234,
		Outputs: []string{"o-1", "o-2"},
		Attempts: []store.Attempt{{
			At: at, Duration: 1500 * time.Microsecond, Worker: "a/3",
			Lines: []store.LogLine{{At: at, Level: "INFO", Text: "split \"3\" lines", Attrs: map[string]string{"order": "7"}}},
		}},
		Content: store.Content{Headers: map[string]string{"tenant": fmt.Sprintf("t-%d", n%4)}, Payload: fmt.Appendf(nil, `{"id": "o-%d"}`, n)},
	}
}

func appendLog(t require.TestingT, s store.Store, entries ...store.LogEntry) {
	require.NoError(t, s.AppendLog(ctx, entries))
}

func messageLog(t *testing.T, h Harness) {
	t.Run("KeptWholeAndContinued", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		first := entry(1)
		first.State, first.Reason, first.Error = store.Retrying, pipeline.ReasonTimeout, "no answer"
		first.Payload = []byte("\x00\xff no JSON")
		second := entry(1)
		second.At, second.Outputs = second.At.Add(time.Minute), []string{"o-9"}
		second.Headers, second.Payload = nil, nil
		second.Attempts[0].Error = "\x00"
		appendLog(t, s, first)
		appendLog(t, s, entry(2), second)

		got, err := s.LogEntry(t.Context(), "prepare", "m-1")
		require.NoError(t, err)
		want := second
		want.ID, want.Content, want.Attempts = got.ID, first.Content, append(slices.Clone(first.Attempts), second.Attempts...)
		want.Attempts[1].Error = "\uFFFD"
		require.Equal(t, want, got)
		_, err = s.LogEntry(t.Context(), "prepare", "nobody")
		require.ErrorIs(t, err, store.ErrNotFound)
	})

	t.Run("SearchInPages", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 25 {
			e := entry(n)
			if n%5 == 0 {
				e.Payload = []byte("no JSON \xff\x00")
			}
			if n == 11 {
				e.Attempts[0].Lines[0].Text = "a Needle in it"
			}
			appendLog(t, s, e)
		}
		search := func(f store.Filter) (found []string) {
			q := store.LogQuery{Filter: f, Limit: 4, Bare: true}
			for {
				page, err := s.SearchLog(t.Context(), q)
				require.NoError(t, err)
				for _, e := range page.Entries {
					found = append(found, e.Message)
				}
				if q.Cursor = page.Next; q.Cursor == "" {
					return found
				}
			}
		}
		require.Equal(t, []string{"m-7"}, search(store.Filter{Field: store.FieldPointer, Name: "/id", Value: "o-7"}))
		require.Equal(t, []string{"m-11"}, search(store.Filter{Field: store.FieldText, Value: "needle"}))
		require.Len(t, search(store.Filter{}), 25)
		require.Equal(t, []string{"m-21", "m-14", "m-0"}, search(store.And(store.Is(store.FieldKey, "k-0"), store.Not(store.Is(store.FieldMessage, "m-7")))))
	})

	t.Run("PagesOfLargeEntriesAreShort", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 4 {
			e := entry(n)
			e.Payload = make([]byte, store.PageBytes*2/5)
			appendLog(t, s, e)
		}
		page, err := s.SearchLog(t.Context(), store.LogQuery{})
		require.NoError(t, err)
		require.Len(t, page.Entries, 2)
		page, err = s.SearchLog(t.Context(), store.LogQuery{Cursor: page.Next})
		require.NoError(t, err)
		require.Len(t, page.Entries, 2)
		require.Empty(t, page.Next)
		page, err = s.SearchLog(t.Context(), store.LogQuery{Bare: true})
		require.NoError(t, err)
		require.Len(t, page.Entries, 4)
	})

	t.Run("RandomFilters", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		var entries []store.LogEntry
		for n, payload := range payloads {
			e := entry(n)
			e.Payload, e.Attempts = []byte(payload), nil
			entries = append(entries, e)
		}
		appendLog(t, s, entries...)
		rapid.Check(t, func(r *rapid.T) {
			f := anyFilter(2).Draw(r, "filter")
			var want, got []string
			for _, e := range slices.Backward(entries) {
				texts := map[store.Field]string{
					store.FieldMessage: e.Message, store.FieldHandler: e.Handler, store.FieldTopic: e.Topic, store.FieldKey: e.Key,
					store.FieldCorrelation: e.Correlation, store.FieldState: string(e.State), store.FieldReason: "", store.FieldError: "",
				}
				if f.Match(&store.Record{Texts: texts, Time: e.At, Content: e.Content}) {
					want = append(want, e.Message)
				}
			}
			page, err := s.SearchLog(ctx, store.LogQuery{Filter: f})
			require.NoError(r, err)
			for _, e := range page.Entries {
				got = append(got, e.Message)
			}
			require.Equal(r, want, got, "%+v", f)
		})
	})

	t.Run("TrimmedByAgeAndSizeOfAState", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		for n := range 30 {
			e := entry(n)
			e.Payload = make([]byte, 1000)
			if n%3 == 0 {
				e.State = store.Dead
			}
			appendLog(t, s, e)
			if n%2 == 0 { // what is continued counts for what it is then
				e.Payload, e.Attempts = nil, nil
				appendLog(t, s, e)
			}
		}
		trim := func(rule store.LogRule) (gone []int) {
			for {
				n, err := s.TrimLog(t.Context(), rule)
				require.NoError(t, err)
				if n == 0 {
					return gone
				}
				gone = append(gone, n)
			}
		}
		require.Equal(t, []int{3, 3}, trim(store.LogRule{State: store.Completed, Before: entry(10).At, Limit: 3}))
		trim(store.LogRule{State: store.Dead, Bytes: 3600, Limit: 4}) // an entry takes 1,200 bytes, about
		page, err := s.SearchLog(t.Context(), store.LogQuery{Filter: store.Is(store.FieldState, string(store.Dead))})
		require.NoError(t, err)
		var left []string
		for _, e := range page.Entries {
			left = append(left, e.Message)
		}
		require.Contains(t, [][]string{{"m-27", "m-24"}, {"m-27", "m-24", "m-21"}}, left, "the newest, as many as have room")
		page, err = s.SearchLog(t.Context(), store.LogQuery{Filter: store.Is(store.FieldState, string(store.Completed))})
		require.NoError(t, err)
		require.Len(t, page.Entries, 14, "one state's bound is not another's")
	})

	t.Run("ThroughTheWriter", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		w := store.NewLogWriter(s, store.LogWriterOptions{Interval: time.Hour})
		var wg sync.WaitGroup
		for i := range 8 {
			wg.Go(func() {
				for n := range 50 {
					if err := w.Write(t.Context(), entry(100*i+n)); err != nil {
						t.Error(err)
					}
				}
			})
		}
		wg.Wait()
		failed := entry(7000)
		failed.State = store.Dead
		require.NoError(t, w.Write(t.Context(), failed))
		_, err := s.LogEntry(t.Context(), "prepare", "m-7000")
		require.NoError(t, err, "a failure is in the log when Write returns")
		w.Close()
		require.Zero(t, w.Unlogged())
		page, err := s.SearchLog(t.Context(), store.LogQuery{Limit: store.MaxPage, Bare: true})
		require.NoError(t, err)
		require.Len(t, page.Entries, 401)
	})
}
