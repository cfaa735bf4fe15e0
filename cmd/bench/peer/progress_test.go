package peer

import (
	"context"
	"testing"

	"github.com/stretchr/testify/require"
)

// TestProgress: nothing is marked past what is not done, whatever the order
// of the answers, and gaps in the offsets do not stop it.
func TestProgress(t *testing.T) {
	t.Parallel()
	var marked []int64
	p := newProgress(4, func(next int64) { marked = append(marked, next) })
	for _, offset := range []int64{10, 11, 14, 15} { // 12 and 13 were compacted away
		require.True(t, p.begin(t.Context(), offset))
	}
	full, end := context.WithCancel(t.Context())
	end()
	require.False(t, p.begin(full, 16), "there is no room")
	p.done(11)
	require.Empty(t, marked)
	p.done(10)
	require.Equal(t, []int64{14}, marked)
	p.done(15)
	require.Equal(t, []int64{14}, marked)
	p.done(14)
	require.Equal(t, []int64{14, 16}, marked)
	p.wait()
}
