package stages

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
)

// TestAnyOrder: an order and the events for its jobs come in any order, any of
// them more than once, and what comes too early comes again, as retries have
// it. There is one announcement, it is made with the last stage, and no mark
// ever goes back.
func TestAnyOrder(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		lenient := rapid.Bool().Draw(r, "lenient")
		b := newBench(t, fmt.Sprintf("lenient: %t", lenient), "completed")
		stages := rapid.SliceOfN(rapid.IntRange(1, 4), 1, 5).Draw(r, "stages of each job")
		left := []string{drawnOrder(stages)}
		for j, n := range stages {
			for s := range n {
				left = append(left, done(fmt.Sprintf("A1-%d-1", j+1), fmt.Sprintf("s%d", s), j*10+s))
			}
		}
		repeats := rapid.SliceOfN(rapid.SampledFrom(left), 0, 2*len(left)).Draw(r, "repeats")
		left = rapid.Permutation(append(left, repeats...)).Draw(r, "messages")

		announced := 0
		var marks []string
		for len(left) > 0 {
			var early []string
			for _, payload := range left {
				outs, err := b.send(payload)
				if err != nil {
					require.False(r, pipeline.IsPermanent(err), err)
					early = append(early, payload)
				}
				now := marksOf(b.known(t, "A1"))
				require.Subset(r, now, marks, "a mark went back")
				marks = now
				if announced += len(outs); len(outs) > 0 {
					require.True(r, b.known(t, "A1").complete())
				}
				require.Equal(r, b.known(t, "A1").known() && b.known(t, "A1").complete(), announced == 1)
			}
			require.Less(r, len(early), len(left), "each round something is done")
			if lenient {
				require.LessOrEqual(r, len(early), max(0, slices.Index(left, drawnOrder(stages))), "only what comes before the order is too early")
			}
			left = early
		}
		require.Equal(r, 1, announced)
	})
}

func drawnOrder(stages []int) string {
	var lines []string
	for j, n := range stages {
		var names []string
		for s := range n {
			names = append(names, fmt.Sprintf(`"s%d"`, s))
		}
		lines = append(lines, fmt.Sprintf(`{"job_id":"A1-%d-1","completion_stages":[%s]}`, j+1, strings.Join(names, ",")))
	}
	return `{"orderId":"A1","order_lines":[` + strings.Join(lines, ",") + `]}`
}

// marksOf lists what is done.
func marksOf(r *record) []string {
	var marks []string
	for job, stages := range r.Done {
		for _, stage := range stages {
			marks = append(marks, job+" "+stage)
		}
	}
	return marks
}

// TestAnyChange: orders that change keep each mark, also of jobs that go and
// come back.
func TestAnyChange(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(r *rapid.T) {
		b := newBench(t, "{changed: update, lenient: true}", "completed", "errors")
		announced := 0
		var marks []string
		r.Repeat(map[string]func(*rapid.T){
			"order": func(r *rapid.T) {
				outs, err := b.send(drawnOrder(rapid.SliceOfN(rapid.IntRange(1, 3), 1, 3).Draw(r, "stages of each job")))
				if err != nil {
					require.Equal(r, pipeline.ReasonConflict, pipeline.ReasonOf(err))
					require.Equal(r, 1, announced)
				}
				announced += len(outs)
			},
			"event": func(r *rapid.T) {
				job, stage := rapid.IntRange(1, 3).Draw(r, "job"), rapid.IntRange(0, 2).Draw(r, "stage")
				outs, _ := b.send(done(fmt.Sprintf("A1-%d-1", job), fmt.Sprintf("s%d", stage), 1))
				if len(outs) > 0 && pipeline.OutputOf(outs[0]) == outputCompleted {
					announced++
				}
			},
			"": func(r *rapid.T) {
				known := b.known(t, "A1")
				if announced == 0 {
					require.False(r, known.known() && known.complete())
				}
				require.LessOrEqual(r, announced, 1)
				now := marksOf(known)
				require.Subset(r, now, marks, "a mark went back")
				marks = now
			},
		})
	})
}
