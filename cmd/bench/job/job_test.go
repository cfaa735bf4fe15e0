package job

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestOrders_AreTheSameEachTime(t *testing.T) {
	t.Parallel()
	prepare, err := NewPrepare()
	require.NoError(t, err)
	for _, size := range []int{100, DefaultSize, 1_000, 10_000, 100_000} {
		o := Orders{Keys: 10_000, Size: size}
		order := o.Order(12_345, time.Unix(0, 42))
		require.Equal(t, order, o.Order(12_345, time.Unix(0, 42)))
		require.InDelta(t, size, len(order), 60)
		out, err := prepare(order)
		require.NoError(t, err)
		for _, payload := range [][]byte{order, out} {
			seq, err := Seq(payload)
			require.NoError(t, err)
			require.Equal(t, 12_345, seq)
			due, err := Due(payload)
			require.NoError(t, err)
			require.Equal(t, int64(42), due.UnixNano())
		}
		require.Contains(t, string(out), `"completion_stages":["surface","coat","glaze","inspect"]`)
	}
	_, err = Seq([]byte("no order"))
	require.Error(t, err)
}

func TestOrders_Keys(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	for seq := range 10_000 {
		seen[Orders{Keys: 100}.Key(seq)]++
	}
	require.Len(t, seen, 100)
	for key, n := range seen {
		require.Less(t, n, 200, key)
	}
}

// TestCheck: a good output is good, and each way in which one can be wrong is
// found by name.
func TestCheck(t *testing.T) {
	t.Parallel()
	prepare, err := NewPrepare()
	require.NoError(t, err)
	orders := Orders{Keys: 10}
	const n = 200
	outputs := func() [][]byte {
		all := make([][]byte, n)
		for seq := range all {
			out, err := prepare(orders.Order(seq, time.Time{}))
			require.NoError(t, err)
			all[seq] = out
		}
		return all
	}
	first, second := sameKey(orders, n)
	for name, c := range map[string]struct {
		harm func(all [][]byte) [][]byte
		want Verdict
	}{
		"good":      {func(all [][]byte) [][]byte { return all }, Verdict{}},
		"lost":      {func(all [][]byte) [][]byte { return append(all[:77], all[78:]...) }, Verdict{Missing: 1}},
		"repeated":  {func(all [][]byte) [][]byte { return append(all, all[5]) }, Verdict{Repeated: 1}},
		"changed":   {func(all [][]byte) [][]byte { all[7] = append(all[7], ' '); return all }, Verdict{Different: 1}},
		"untouched": {func(all [][]byte) [][]byte { all[7] = orders.Order(7, time.Time{}); return all }, Verdict{Different: 1}},
		"foreign":   {func(all [][]byte) [][]byte { return append(all, []byte("x")) }, Verdict{Different: 1}},
		"swapped": {func(all [][]byte) [][]byte {
			all[first], all[second] = all[second], all[first]
			return all
		}, Verdict{Disorders: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			check := NewCheck(orders, n, prepare)
			all := c.harm(outputs())
			for _, payload := range all {
				check.See(payload)
			}
			v := check.Verdict()
			require.Equal(t, name == "good", v.Err(true) == nil)
			require.Equal(t, name == "good" || name == "swapped", v.Err(false) == nil)
			c.want.Outputs, c.want.First = len(all), v.First
			require.Equal(t, c.want, v)
		})
	}
}

// sameKey returns two neighbours of a key.
func sameKey(o Orders, n int) (first, second int) {
	last := map[string]int{}
	for seq := range n {
		if before, ok := last[o.Key(seq)]; ok {
			return before, seq
		}
		last[o.Key(seq)] = seq
	}
	return 0, 0
}

func TestPace_StopsAtAnError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken")
	sent := 0
	err := Pace(t.Context(), func(seq int, due time.Time) error {
		sent++
		require.LessOrEqual(t, time.Until(due), time.Millisecond, "not before it is due")
		if seq == 20 {
			return broken
		}
		return nil
	})
	require.ErrorIs(t, err, broken)
	require.Equal(t, 20, sent)
	ended, end := context.WithCancel(t.Context())
	end()
	require.ErrorIs(t, Pace(ended, func(int, time.Time) error { return nil }), context.Canceled)
}

func TestStopwatch(t *testing.T) {
	t.Parallel()
	w, orders := NewStopwatch(), Orders{Keys: 1}
	due := time.Now().Add(-time.Second)
	w.See([]byte("foreign"))
	w.See(orders.Order(0, due))
	<-w.Started()
	for seq := 1; seq <= Paced; seq++ {
		w.See(orders.Order(seq, due))
		w.See(orders.Order(seq, due.Add(-time.Hour))) // again: does not count
	}
	<-w.Finished()
	l := w.Latencies()
	require.GreaterOrEqual(t, l.P50, 1000.0)
	require.LessOrEqual(t, l.P50, l.P99)
	require.LessOrEqual(t, l.P99, l.P999)
	require.Less(t, l.P999, 3_600_000.0)
}
