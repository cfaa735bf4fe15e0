package prepare

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestSplit_Guards(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		config Config
		lines  string
		want   string
	}{
		"a thousand million": {perUnit, `{"quantity":1000000000}`, "order line 1: the order would become more than 10000 jobs"},
		"1e400":              {perUnit, `{"quantity":1e400}`, "10000 jobs"},
		"1e999999999999":     {perUnit, `{"quantity":1e999999999999999999999}`, "10000 jobs"},
		"more than an int64": {perUnit, `{"quantity":99999999999999999999}`, "10000 jobs"},
		"many batches":       {splitBy(SplitRule{Batch: 2}), `{"quantity":9223372036854775807}`, "10000 jobs"},
		"the sum over lines": {perUnit, `{"quantity":9999},{"quantity":1},{"quantity":1}`, "order line 3"},
		"sums that overflow": {perUnit, strings.Repeat(`{"quantity":9223372036854775807},`, 3) + `{}`, "order line 1"},
		"components":         {splitBy(SplitRule{Components: "/parts"}), `{"quantity":4611686018427387904,"parts":[1,2,3]}`, "10000 jobs"},
		"many lines":         {perUnit, strings.Repeat(`{},`, 10_000) + `{}`, "order line 10001"},
		"bytes":              {perUnit, `{"quantity":9999,"note":"` + strings.Repeat("x", 10_000) + `"}`, "67108864 bytes"},
	} {
		t.Run("0-D07 "+name+" fails before anything is built", func(t *testing.T) {
			t.Parallel()
			start := time.Now()
			require.Contains(t, refused(t, c.config, `{"id":7,"order_lines":[`+c.lines+`]}`), c.want)
			require.Less(t, time.Since(start), 5*time.Second)
		})
	}
	t.Run("0-D07 the limit itself is allowed", func(t *testing.T) {
		t.Parallel()
		require.Len(t, jobs(t, perUnit, `{"quantity":1e4}`), 10_000)
	})
	t.Run("0-D07 what was refused was not built", func(t *testing.T) {
		t.Parallel()
		p := newPreparer(t, perUnit)
		order := []byte(`{"id":7,"order_lines":[{"quantity":1000000000}]}`)
		require.Less(t, testing.Benchmark(func(b *testing.B) {
			for b.Loop() {
				_, _ = p.Prepare(order)
			}
		}).AllocedBytesPerOp(), int64(4096))
	})
}
