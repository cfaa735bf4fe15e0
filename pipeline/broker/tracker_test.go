package broker

import (
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestTracker_Model compares the tracker with the plainest thing that could
// be right: a list of positions and three sets.
func TestTracker_Model(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		tracker := newTracker()
		var all []int64 // every position, in order
		done, told, given := set{}, set{}, set{}
		next, upTo := rapid.Int64Range(0, 1<<40).Draw(t, "first"), int64(noPosition)
		var p Progress

		open := func() []int64 {
			return slices.DeleteFunc(slices.Clone(all), func(pos int64) bool { return done[pos] || given[pos] })
		}
		t.Repeat(map[string]func(*rapid.T){
			"add": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "positions") {
					tracker.add(next)
					all = append(all, next)
					next += rapid.Int64Range(1, 3).Draw(t, "gap")
				}
			},
			"done": func(t *rapid.T) {
				for range rapid.IntRange(1, 40).Draw(t, "acks") {
					if left := open(); len(left) > 0 {
						pos := rapid.SampledFrom(left).Draw(t, "position")
						tracker.mark(pos, entryDone)
						done[pos] = true
					}
				}
			},
			"given": func(t *rapid.T) {
				if left := open(); len(left) > 0 && rapid.IntRange(0, 9).Draw(t, "rarely") == 0 {
					pos := rapid.SampledFrom(left).Draw(t, "position")
					tracker.mark(pos, entryGiven)
					given[pos] = true
				}
			},
			"unknown": func(t *rapid.T) { tracker.mark(next+1, entryDone) },
			"take": func(t *rapid.T) {
				p = tracker.take(p)
				var prefix, above []int64
				before := upTo
				i := slices.IndexFunc(all, func(pos int64) bool { return !done[pos] })
				if i < 0 {
					i = len(all)
				}
				for k, pos := range all {
					switch {
					case k < i:
						upTo = pos
						if !told[pos] {
							prefix = append(prefix, pos)
						}
					case done[pos] && !told[pos]:
						above = append(above, pos)
					}
				}
				for _, pos := range slices.Concat(prefix, above) {
					told[pos] = true
				}
				require.Equal(t, upTo, p.UpTo)
				require.Equal(t, upTo != before, p.Moved)
				require.ElementsMatch(t, prefix, p.Prefix)
				require.ElementsMatch(t, above, p.Above)
				require.True(t, slices.IsSorted(p.Prefix), "prefix in order")
				require.True(t, slices.IsSorted(p.Above), "above in order")
			},
			"above": func(t *rapid.T) {
				var want []int64
				for _, pos := range all {
					if done[pos] && pos > upTo {
						want = append(want, pos)
					}
				}
				require.Subset(t, want, tracker.above(nil))
				// What has joined the prefix since the last take is still listed.
				require.Len(t, tracker.above(nil), len(want))
			},
		})
	})
}

type set map[int64]bool

func TestTracker_MarkIsOnceOnly(t *testing.T) {
	t.Parallel()
	tracker := newTracker()
	tracker.add(5)
	tracker.mark(5, entryDone)
	tracker.mark(5, entryDone)
	p := tracker.take(Progress{})
	require.Equal(t, []int64{5}, p.Prefix)
	tracker.mark(5, entryDone) // gone
	p = tracker.take(p)
	require.False(t, p.Moved)
	require.Empty(t, p.Prefix)
	require.Equal(t, int64(5), p.UpTo)
}

func BenchmarkTracker(b *testing.B) {
	tracker, p := newTracker(), Progress{}
	for i := range int64(b.N) {
		tracker.add(i)
		if i >= 512 {
			tracker.mark(i-512, entryDone)
			p = tracker.take(p)
		}
	}
}
