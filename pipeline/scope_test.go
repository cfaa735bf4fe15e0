package pipeline_test

import (
	"context"
	"runtime"
	"testing"
	"time"
	"weak"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
)

type testKey struct{}

func TestScope(t *testing.T) {
	t.Parallel()
	t.Run("it ends with its parent, and says why", func(t *testing.T) {
		t.Parallel()
		for name, wait := range map[string]bool{"waited for": true, "never waited for": false} {
			parent, cancel := context.WithCancelCause(t.Context())
			s := pipeline.NewScope(parent, time.Hour)
			if wait {
				_ = s.Done()
			}
			require.NoError(t, s.Err(), name)
			cancel(pipeline.ErrStopping)
			require.ErrorIs(t, s.Err(), context.Canceled, name)
			require.ErrorIs(t, context.Cause(s), pipeline.ErrStopping, name)
			<-s.Done()
			s.End()
		}
	})
	t.Run("End ends it and all that stems from it", func(t *testing.T) {
		t.Parallel()
		s := pipeline.NewScope(t.Context(), 0)
		before, cancel := context.WithCancel(context.WithValue(s, testKey{}, "v"))
		defer cancel()
		require.NoError(t, before.Err())
		s.End()
		<-before.Done()
		<-s.Done()
		require.ErrorIs(t, context.Cause(s), context.Canceled)
		after, cancel := context.WithTimeout(s, time.Hour)
		defer cancel()
		<-after.Done()
		require.Equal(t, "v", before.Value(testKey{}))
	})
	t.Run("it ends at its deadline, or at its parent's where that comes first", func(t *testing.T) {
		t.Parallel()
		s := pipeline.NewScope(t.Context(), time.Nanosecond)
		<-s.Done()
		require.ErrorIs(t, s.Err(), context.DeadlineExceeded)
		s = pipeline.NewScope(t.Context(), time.Nanosecond)
		require.Eventually(t, func() bool { return s.Err() != nil }, 10*time.Second, time.Microsecond)
		require.ErrorIs(t, context.Cause(s), context.DeadlineExceeded)

		outer := pipeline.NewScope(t.Context(), time.Millisecond)
		inner := pipeline.NewScope(context.WithValue(outer, testKey{}, 1), time.Hour)
		want, _ := outer.Deadline()
		got, ok := inner.Deadline()
		require.True(t, ok)
		require.Equal(t, want, got)
		<-inner.Done()
	})
}

// Whatever is asked for and in whatever order: a chain of scopes behaves as a
// chain of the standard library's contexts.
func TestScope_BehavesAsTheStandardLibrary(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		root, cancel := context.WithCancelCause(context.Background())
		defer cancel(nil)
		depth := rapid.IntRange(1, 4).Draw(t, "depth")
		scopes, models, ends := []*pipeline.Scope{}, []context.Context{}, []context.CancelFunc{}
		ours, model := root, root
		for i := range depth {
			timeout := time.Duration(rapid.IntRange(0, 1).Draw(t, "timeout")) * time.Hour
			s := pipeline.NewScope(ours, timeout)
			m, end := context.WithCancel(model)
			scopes, models, ends = append(scopes, s), append(models, m), append(ends, end)
			ours, model = context.WithValue(s, testKey{}, i), context.WithValue(m, testKey{}, i)
		}
		open := depth // those within have ended: scopes nest
		for range rapid.IntRange(0, 8).Draw(t, "steps") {
			i := rapid.IntRange(0, depth-1).Draw(t, "which")
			switch rapid.IntRange(0, 3).Draw(t, "what") {
			case 0:
				_ = scopes[i].Done()
			case 1:
				if open > 0 {
					open--
					scopes[open].End()
					ends[open]()
				}
			case 2:
				if rapid.IntRange(0, 3).Draw(t, "root") == 0 {
					cancel(pipeline.ErrStopping)
				}
			case 3:
				_ = scopes[i].Err()
			}
			for i := range scopes {
				if (models[i].Err() == nil) != (scopes[i].Err() == nil) {
					t.Fatalf("scope %d: %v, the standard library %v", i, scopes[i].Err(), models[i].Err())
				}
				if models[i].Err() != nil {
					<-scopes[i].Done()
				}
				if models[i].Value(testKey{}) != scopes[i].Value(testKey{}) {
					t.Fatalf("scope %d has another value", i)
				}
			}
		}
		for i := open - 1; i >= 0; i-- {
			scopes[i].End()
			ends[i]()
		}
	})
}

// A context that the standard library does not know costs a goroutine for
// each of its children, unless it lets itself be found.
//
//nolint:paralleltest // counts goroutines
func TestScope_StartsNoGoroutine(t *testing.T) {
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	before := runtime.NumGoroutine()
	outer := pipeline.NewScope(parent, 0)
	inner := pipeline.NewScope(context.WithValue(outer, testKey{}, 1), time.Hour)
	child, stop := context.WithCancel(inner)
	defer stop()
	require.Equal(t, before, runtime.NumGoroutine())
	require.Equal(t, 1, child.Value(testKey{}))
	cancel()
	<-child.Done()
	<-inner.Done()
	<-outer.Done()
}

func TestScopeAllocates(t *testing.T) {
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	require.LessOrEqual(t, testing.AllocsPerRun(100, func() {
		s := pipeline.NewScope(parent, time.Hour)
		_ = s.Err()
		s.End()
	}), 1.0)
}

// A scope that was waited for before the one around it lets go of its parent
// all the same: else a message's context would stay as long as its claim.
func TestScope_LeavesNothingWithItsParent(t *testing.T) {
	t.Parallel()
	parent, cancel := context.WithCancel(context.Background())
	defer cancel()
	held := func() weak.Pointer[[10_000]byte] {
		value := new([10_000]byte)
		outer := pipeline.NewScope(context.WithValue(parent, testKey{}, value), 0)
		inner := pipeline.NewScope(context.WithValue(outer, testKey{}, value), time.Hour)
		_ = inner.Done()
		_ = outer.Done()
		inner.End()
		outer.End()
		return weak.Make(value)
	}()
	require.Eventually(t, func() bool { runtime.GC(); return held.Value() == nil }, 10*time.Second, time.Millisecond)
	runtime.KeepAlive(parent)
}

// What lies between two scopes counts, whether anybody waits for them or not.
func TestScope_WithoutCancel(t *testing.T) {
	t.Parallel()
	root, cancel := context.WithCancel(context.Background())
	outer := pipeline.NewScope(root, 0)
	apart := context.WithoutCancel(outer)
	free := pipeline.NewScope(apart, 0)
	other, stop := context.WithCancel(apart)
	bound := pipeline.NewScope(other, 0)
	_, _ = free.Done(), bound.Done()
	cancel()
	<-outer.Done()
	require.NoError(t, free.Err())
	require.NoError(t, bound.Err())
	stop()
	<-bound.Done()
	free.End()
	<-free.Done()
}
