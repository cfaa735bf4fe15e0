package journal

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

func TestGate(t *testing.T) {
	t.Parallel()

	t.Run("one runs alone, those behind it one after the other, and the others then", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			require.True(t, g.enter(t.Context()))
			order := make(chan string, 10)
			for range 2 {
				go func() {
					g.alone(t.Context())
					order <- "alone"
					time.Sleep(time.Second) //nolint:forbidigo // synctest's time
					g.goOn()
				}()
			}
			synctest.Wait()
			go func() {
				g.enter(t.Context())
				order <- "beside"
				g.leave()
			}()
			synctest.Wait()
			require.Empty(t, order, "one still runs")
			require.True(t, g.busy())
			g.leave()
			require.Equal(t, "alone", <-order)
			synctest.Wait()
			require.Empty(t, order)
			require.Equal(t, "alone", <-order)
			require.Equal(t, "beside", <-order)
			synctest.Wait()
			require.False(t, g.busy())
		})
	})

	t.Run("who waits gives up when its subscription drains or its context ends, and the gate opens again", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			require.True(t, g.enter(t.Context()))
			ends, end := context.WithCancel(t.Context())
			draining := make(chan struct{})
			drains := pipeline.WithDraining(t.Context(), draining)
			gaveUp := make(chan bool, 4)
			for _, ctx := range []context.Context{ends, drains} {
				go func() { gaveUp <- g.alone(ctx) }() // the first has the turn
				synctest.Wait()
				go func() { gaveUp <- g.enter(ctx) }()
				synctest.Wait()
			}
			end()
			require.False(t, <-gaveUp)
			require.False(t, <-gaveUp)
			synctest.Wait()
			require.Empty(t, gaveUp, "the other one still wants to be alone")
			close(draining)
			require.False(t, <-gaveUp)
			require.False(t, <-gaveUp)
			require.True(t, g.enter(t.Context()))
			g.leave()
			g.leave()
			require.False(t, g.busy())
			require.True(t, g.alone(t.Context()))
			g.goOn()
		})
	})

	t.Run("a run that hangs is waited for once, and not for ever", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			require.True(t, g.enter(t.Context()))
			begin := time.Now()
			passed := make(chan time.Duration, 2)
			for range 2 {
				go func() {
					g.alone(t.Context())
					passed <- time.Since(begin)
					g.goOn()
				}()
			}
			require.Equal(t, patience, <-passed)
			require.Equal(t, patience, <-passed)
			synctest.Wait()
			require.True(t, g.enter(t.Context()))
			g.leave()
			g.leave()
			require.True(t, g.alone(t.Context()), "it has ended")
			g.goOn()
		})
	})

	t.Run("one that hangs alone lets the others on, and is none that those who want to be alone wait for", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			g := newGate()
			hangs, over := make(chan struct{}), make(chan struct{})
			var told time.Duration
			begin := time.Now()
			go func() {
				defer close(over)
				g.alone(t.Context())
				defer g.goOnWithin(patience, func() { told = time.Since(begin) })()
				<-hangs
			}()
			synctest.Wait()
			next := make(chan time.Duration, 1)
			go func() {
				g.alone(t.Context())
				next <- time.Since(begin)
				g.goOnWithin(patience, func() { t.Error("it does not hang") })()
			}()
			require.True(t, g.enter(t.Context()))
			require.Equal(t, patience, time.Since(begin))
			require.Equal(t, patience, told)
			require.Equal(t, patience, <-next)
			g.leave()
			synctest.Wait()
			require.True(t, g.busy(), "it still runs")
			close(hangs)
			<-over
			require.False(t, g.busy())
			require.True(t, g.alone(t.Context()))
			g.goOn()
			require.Equal(t, patience, time.Since(begin))
		})
	})

	t.Run("many at once: alone is alone", func(t *testing.T) {
		t.Parallel()
		g := newGate()
		single := 0 // the race detector looks at it
		done := make(chan struct{})
		for i := range 8 {
			go func() {
				defer func() { done <- struct{}{} }()
				for n := range 2000 {
					if n%50 == i {
						g.alone(t.Context())
						single++
						g.goOn()
						continue
					}
					g.enter(t.Context())
					_ = single
					g.leave()
				}
			}()
		}
		for range 8 {
			<-done
		}
		require.Equal(t, 8*40, single)
		require.False(t, g.busy())
	})
}
