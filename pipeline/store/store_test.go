package store

import (
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline"
)

var update = flag.Bool("update", false, "write docs/states.md")

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestStatesPage: the page of states is made of the table in the code.
func TestStatesPage(t *testing.T) {
	t.Parallel()
	const page = "../../docs/states.md"
	if *update {
		require.NoError(t, os.WriteFile(page, []byte(StatesPage()), 0o644))
	}
	got, err := os.ReadFile(page)
	require.NoError(t, err)
	require.Equal(t, StatesPage(), string(got), "run `make generate`")
}

// TestStates_Table: each move is between known states, and each state can be
// reached from the first.
func TestStates_Table(t *testing.T) {
	t.Parallel()
	reached := map[State]bool{InProgress: true}
	for range moves {
		for _, m := range moves {
			require.Contains(t, States(), m.from)
			require.Contains(t, States(), m.to)
			require.True(t, CanMove(m.from, m.to))
			if reached[m.from] {
				reached[m.to] = true
			}
		}
	}
	require.Len(t, reached, len(States()))
	require.False(t, CanMove(Completed, Dead))
	require.False(t, CanMove(Archived, Replaying))
}

func TestErrors_CarryTheirReason(t *testing.T) {
	t.Parallel()
	for err, reason := range map[error]pipeline.Reason{
		ErrNotFound: pipeline.ReasonInvalid, ErrInvalid: pipeline.ReasonInvalid, ErrConflict: pipeline.ReasonConflict,
		ErrStaleToken: pipeline.ReasonConflict, ErrUnavailable: pipeline.ReasonUnavailable,
	} {
		require.Equal(t, reason, pipeline.ReasonOf(err), err)
	}
}

func TestSearchable(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]bool{
		`{"a": [1, "}{", "\"["]}`: true, ` 1 `: true,
		`{`: false, "": false, `{"a":1,"a":2}`: false, "\"\xff\"": false, `"\u0000"`: false, `"\ud800"`: false, `1 2`: false, "\"\x00\"": false,
		strings.Repeat("[", maxSearchDepth) + strings.Repeat("]", maxSearchDepth):     true,
		strings.Repeat("[", maxSearchDepth+1) + strings.Repeat("]", maxSearchDepth+1): false,
	} {
		require.Equal(t, want, Searchable([]byte(doc)), doc)
	}
}
