package broker

import (
	"testing"

	"github.com/stretchr/testify/require"
)

func TestRecent(t *testing.T) {
	t.Parallel()
	r := newRecent(2)
	require.False(t, r.note("a", true))
	require.True(t, r.note("a", true))
	require.False(t, r.note("b", false))
	require.True(t, r.note("b", true))
	require.False(t, r.note("a", true), "pushed out")
	other := newRecent(2)
	require.False(t, other.note("", true), "an empty place is no message")
}
