package pipeline_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

func TestAwait(t *testing.T) {
	t.Parallel()

	t.Run("a value that is there comes also after the end", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		from := make(chan int, 1)
		from <- 7
		got, err := pipeline.Await(ctx, from)
		require.NoError(t, err)
		require.Equal(t, 7, got)
	})

	t.Run("a value that comes later, and a channel that is closed", func(t *testing.T) {
		t.Parallel()
		from := make(chan int)
		go func() {
			from <- 7
			close(from)
		}()
		for _, want := range []int{7, 0} {
			got, err := pipeline.Await(pipeline.NewScope(t.Context(), time.Minute), from)
			require.NoError(t, err)
			require.Equal(t, want, got)
		}
	})

	t.Run("the end, and why", func(t *testing.T) {
		t.Parallel()
		why := errors.New("the claim is lost")
		outer, cancel := context.WithCancelCause(t.Context())
		ctx := pipeline.NewScope(outer, time.Minute)
		go cancel(why)
		_, err := pipeline.Await(ctx, make(chan int))
		require.ErrorIs(t, err, why)

		_, err = pipeline.Await(pipeline.NewScope(t.Context(), time.Millisecond), make(chan int))
		require.ErrorIs(t, err, context.DeadlineExceeded)
	})
}

// Not parallel: it counts what this goroutine allocates.
func TestAwaitAllocatesNothing(t *testing.T) {
	scope := pipeline.NewScope(t.Context(), time.Minute)
	asked, answers := make(chan int), make(chan int)
	go func() {
		for n := range asked {
			answers <- n
		}
	}()
	defer close(asked)
	n := testing.AllocsPerRun(100, func() {
		asked <- 1
		_, err := pipeline.Await(scope, answers)
		require.NoError(t, err)
	})
	require.Less(t, n, 1.0)
}
