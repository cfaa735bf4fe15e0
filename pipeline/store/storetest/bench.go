package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Sizes of the benchmark: what the targets are about.
const (
	benchLetters = 100_000
	benchGroups  = 200
)

// Benchmark measures what people wait for with 100,000 dead letters of 1 KB
// (groups: at most 200 ms; a filter by JSON Pointer: at most 1 s), and what a
// due message costs among a thousand and a million others.
func Benchmark(b *testing.B, h Harness) {
	b.Run("Letters", func(b *testing.B) { benchmarkLetters(b, h) })
	b.Run("Log", func(b *testing.B) { benchmarkLog(b, h) })
	for _, n := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("Due/of=%d", n), func(b *testing.B) { benchmarkDue(b, h, n) })
	}
}

func benchmarkLetters(b *testing.B, h Harness) {
	s := h.Open(b, h.Place(b), store.Options{})
	pad := strings.Repeat("x", 800)
	began := time.Now()
	for n := 0; n < benchLetters; {
		writes := make([]pipeline.Write, 500)
		for i := range writes {
			l := letter(n)
			l.Fingerprint = fmt.Sprintf("f-%d", n%benchGroups)
			l.Payload = fmt.Appendf(nil, `{"orderId": "o-%d", "pad": %q, "customer": {"id": "c-%d"}}`, n, pad, n%1000)
			writes[i] = s.Bury(l)
			n++
		}
		do(b, s, writes...)
	}
	filled := time.Since(began)
	customer := store.Filter{Field: store.FieldPointer, Name: "/customer/id", Value: "c-7"}

	b.Run("Groups", func(b *testing.B) {
		for b.Loop() {
			groups, err := s.Groups(b.Context(), store.GroupQuery{Limit: store.MaxPage})
			require.NoError(b, err)
			require.Len(b, groups, benchGroups)
		}
		b.ReportMetric(benchLetters/filled.Seconds(), "buried/s")
	})
	b.Run("FilterByPointer", func(b *testing.B) {
		for b.Loop() {
			page, err := s.Letters(b.Context(), store.LetterQuery{Filter: customer, Limit: store.MaxPage, Bare: true})
			require.NoError(b, err)
			require.Len(b, page.Letters, 100)
		}
	})
	b.Run("CountByPointer", func(b *testing.B) {
		for b.Loop() {
			n, err := s.CountLetters(b.Context(), customer)
			require.NoError(b, err)
			require.Equal(b, int64(100), n)
		}
	})
	b.Run("GroupByPointer", func(b *testing.B) {
		for b.Loop() {
			groups, err := s.GroupBy(b.Context(), store.Filter{}, store.By{Pointer: "/customer/id"})
			require.NoError(b, err)
			require.Len(b, groups, 1000)
		}
	})
	b.Run("FilterByText", func(b *testing.B) {
		for b.Loop() {
			page, err := s.Letters(b.Context(), store.LetterQuery{Filter: store.Filter{Field: store.FieldText, Value: `"O-99999"`}, Bare: true})
			require.NoError(b, err)
			require.Len(b, page.Letters, 1)
		}
	})
}

// benchmarkDue leases and ends due messages, 100 at a time, beside n that are
// due later, a tenth of them behind others of one key.
func benchmarkDue(b *testing.B, h Harness, n int) {
	s, c := h.fresh(b)
	for i := 0; i < n; {
		writes := make([]pipeline.Write, 500)
		for k := range writes {
			m := waiting(c, fmt.Sprint(i), "", 3600+i%1000)
			if i%10 == 0 {
				m.Key = "hot"
			}
			writes[k] = s.Delay(m)
			i++
		}
		do(b, s, writes...)
	}
	const batch = 100
	put := 0
	var parts [3]time.Duration // put, lease, end
	b.ResetTimer()
	for b.Loop() {
		writes := make([]pipeline.Write, batch)
		for i := range writes {
			put++
			writes[i] = s.Delay(waiting(c, fmt.Sprintf("due-%d", put), "", 0))
		}
		times := [4]time.Time{time.Now()}
		do(b, s, writes...)
		times[1] = time.Now()
		leases := lease(b, s, batch)
		times[2] = time.Now()
		require.Len(b, leases, batch)
		for i, l := range leases {
			writes[i] = s.EndDelayed(l)
		}
		do(b, s, writes...)
		times[3] = time.Now()
		for i := range parts {
			parts[i] += times[i+1].Sub(times[i])
		}
	}
	for i, part := range []string{"put", "lease", "end"} {
		b.ReportMetric(float64(parts[i].Microseconds())/float64(b.N)/batch, "µs/"+part)
	}
}

// benchmarkLog appends batches as a LogWriter does, and searches among 50,000.
func benchmarkLog(b *testing.B, h Harness) {
	s := h.Open(b, h.Place(b), store.Options{})
	n := 0
	fill := func() {
		batch := make([]store.LogEntry, 500)
		for i := range batch {
			batch[i] = entry(n)
			batch[i].Payload = fmt.Appendf(nil, `{"id": "o-%d", "pad": %q}`, n, strings.Repeat("x", 900))
			n++
		}
		appendLog(b, s, batch...)
	}
	b.Run("Append", func(b *testing.B) {
		for b.Loop() {
			fill()
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/500/1000, "µs/entry")
	})
	for n < 50_000 {
		fill()
	}
	b.Run("SearchByPointer", func(b *testing.B) {
		for b.Loop() {
			page, err := s.SearchLog(b.Context(), store.LogQuery{Filter: store.Filter{Field: store.FieldPointer, Name: "/id", Value: "o-3"}, Bare: true})
			require.NoError(b, err)
			require.Len(b, page.Entries, 1)
		}
	})
}
