package embedbroker

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

func TestPositions_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		upto := rapid.Int64Range(0, 1<<45).Draw(t, "upto")
		gaps := rapid.SliceOf(rapid.Int64Range(1, 3)).Draw(t, "gaps")
		e := positionEncoder{next: upto + 1}
		var want []int64
		pos := upto
		for _, gap := range gaps {
			pos += gap
			want = append(want, pos)
			e.add(pos)
		}
		b := e.bytes()
		got, err := decodePositions(upto, b)
		require.NoError(t, err)
		require.Equal(t, want, got)
	})
}

func TestPositions_Compact(t *testing.T) {
	t.Parallel()
	e := positionEncoder{next: 1}
	for pos := range int64(maxSpan) {
		if pos%1000 != 0 {
			e.add(pos + 1)
		}
	}
	require.Less(t, len(e.bytes()), 200, "bytes for 33 open messages in a full span")
}

func TestMetadata_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		meta := rapid.MapOf(rapid.String(), rapid.Map(rapid.SliceOf(rapid.Byte()), func(b []byte) string { return string(b) })).Draw(t, "meta")
		got, err := decodeMetadata(encodeMetadata(meta))
		require.NoError(t, err)
		require.Equal(t, meta, got)
	})
}

// FuzzDecode: a damaged record is an error, never a panic or a huge result.
func FuzzDecode(f *testing.F) {
	f.Add([]byte{})
	f.Add([]byte{0, 5, 1, 2})
	f.Add(encodeMetadata(map[string]string{"a": "b", "": "c"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) > 64 {
			return
		}
		_, _ = decodeMetadata(b)
		_, _ = decodePositions(7, b)
	})
}

// TestCursor_Model drives a cursor as a source and its transactions do, with
// failed ones and changes of the reader, and compares the row that it would
// write with a plain set of what is done.
func TestCursor_Model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const start = int64(3) << placeBits
		claim := &broker.Claim{}
		c := &cursor{upto: start}
		done := map[int64]bool{} // committed
		last := start            // last pos that exists
		at := c.begin(claim)     // last pos that was read
		require.Equal(t, start, at)
		t.Repeat(map[string]func(*rapid.T){
			"read": func(t *rapid.T) {
				for range rapid.IntRange(1, 20).Draw(t, "messages") {
					if at == last {
						last++
					}
					at++
					require.Equal(t, done[at], c.take(at), "done before")
				}
			},
			"transaction": func(t *rapid.T) {
				var open []int64
				for pos := start + 1; pos <= at; pos++ {
					if !done[pos] {
						open = append(open, pos)
					}
				}
				if len(open) == 0 {
					return
				}
				some := rapid.SliceOfDistinct(rapid.SampledFrom(open), func(pos int64) int64 { return pos }).Draw(t, "positions")
				for _, pos := range some {
					require.Equal(t, []int64{pos}, c.open([]int64{pos}))
					c.find(pos).done = true
				}
				if rapid.Bool().Draw(t, "fails") {
					c.undo(some)
					return
				}
				for _, pos := range some {
					done[pos] = true
				}
				c.trim()
			},
			"next reader": func(*rapid.T) {
				c.end()
				at = c.begin(claim)
			},
			"reopen": func(t *rapid.T) {
				upto, above := c.row()
				later, err := decodePositions(upto, above)
				require.NoError(t, err)
				c = &cursor{upto: upto, later: later}
				at = c.begin(claim)
			},
			"": func(t *rapid.T) {
				upto, above := c.row()
				later, err := decodePositions(upto, above)
				require.NoError(t, err)
				var got, want []int64
				for pos := start + 1; pos <= upto; pos++ {
					got = append(got, pos)
				}
				got = append(got, later...)
				for pos := range done {
					want = append(want, pos)
				}
				slices.Sort(want)
				require.Equal(t, want, got)
			},
		})
	})
}
