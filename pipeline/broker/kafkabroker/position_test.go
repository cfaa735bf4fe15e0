package kafkabroker

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestPosition_RoundTrip(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		at := position{next: rapid.Int64Range(0, 1<<50).Draw(t, "next"), clean: rapid.Bool().Draw(t, "clean")}
		span := rapid.SampledFrom([]int{1, 10, 1000, maxSpan}).Draw(t, "span")
		chance := rapid.IntRange(0, 100).Draw(t, "chance")
		seed := rapid.Uint64().Draw(t, "seed")
		for i := range span {
			if seed = seed*6364136223846793005 + 1442695040888963407; int(seed>>33%100) < chance {
				at.above = append(at.above, at.next+1+int64(i))
			}
		}
		metadata := at.metadata()
		require.LessOrEqual(t, len(metadata), maxMetadata)
		got, err := parsePosition(at.next, metadata)
		require.NoError(t, err)
		require.Equal(t, at, got)
	})
}

// The worst there is: every second message of the widest span.
func TestPosition_AlwaysFits(t *testing.T) {
	t.Parallel()
	for _, step := range []int64{1, 2, 3, 7, 500} {
		at := position{next: 1 << 40}
		for offset := int64(1); offset <= maxSpan; offset += step {
			at.above = append(at.above, at.next+offset)
		}
		if last := at.next + maxSpan; at.above[len(at.above)-1] != last {
			at.above = append(at.above, last)
		}
		require.LessOrEqual(t, len(at.metadata()), maxMetadata, "step %d", step)
	}
}

func TestPosition_Text(t *testing.T) {
	t.Parallel()
	require.Equal(t, "w1o", position{next: 5}.metadata())
	require.Equal(t, "w1c", position{next: 5, clean: true}.metadata())
	require.Equal(t, "w1obBg", position{next: 5, above: []int64{6, 7}}.metadata(), "two bits are shorter than a run")
	long := position{next: 5}
	for offset := int64(6); offset < 106; offset++ {
		long.above = append(long.above, offset)
	}
	require.Equal(t, "w1orAWQ", long.metadata(), "a run is shorter than a hundred bits")
}

func TestPosition_OfOthers(t *testing.T) {
	t.Parallel()
	for _, metadata := range []string{"", "leader-epoch 7", "{}", "w"} {
		at, err := parsePosition(9, metadata)
		require.NoError(t, err)
		require.Equal(t, position{next: 9}, at, "another program's metadata says nothing")
	}
	for _, metadata := range []string{"w1", "w1x", "w1o?", "w1or!", "w1orgICAgICAgICAgA", "w1orAf//Aw"} {
		at, err := parsePosition(9, metadata)
		require.ErrorIs(t, err, errMetadata, metadata)
		require.Equal(t, int64(9), at.next)
		require.Empty(t, at.above)
	}
	at, err := parsePosition(-1, "")
	require.NoError(t, err)
	require.Equal(t, position{next: -1}, at)
}

func FuzzParsePosition(f *testing.F) {
	f.Add(int64(0), "w1o")
	f.Add(int64(5), "w1obBg")
	f.Add(int64(5), "w1orAWQ")
	f.Fuzz(func(t *testing.T, next int64, metadata string) {
		if next < 0 || next > 1<<60 {
			return
		}
		at, err := parsePosition(next, metadata)
		if err != nil {
			require.Empty(t, at.above)
			return
		}
		require.True(t, slices.IsSorted(at.above))
		for _, offset := range at.above {
			require.GreaterOrEqual(t, offset, next)
		}
	})
}
