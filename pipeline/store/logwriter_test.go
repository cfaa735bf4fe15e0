package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// stubLog is a Log that only appends, when it is let.
type stubLog struct {
	Log
	gate chan struct{} // nil: open
	err  error

	mu      sync.Mutex
	batches [][]LogEntry
}

func (l *stubLog) AppendLog(ctx context.Context, entries []LogEntry) error {
	if l.gate != nil {
		select {
		case <-l.gate:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.batches = append(l.batches, entries)
	}
	return l.err
}

func success(n int) LogEntry { return LogEntry{Message: fmt.Sprint(n), State: Completed} }

// TestLogWriter_NeverBlocksASuccess: with a log that takes nothing, successes
// return at once and are counted; a failure waits for room and its context.
func TestLogWriter_NeverBlocksASuccess(t *testing.T) {
	t.Parallel()
	log := &stubLog{gate: make(chan struct{})}
	w := NewLogWriter(log, LogWriterOptions{Queue: 10, Interval: time.Nanosecond, Timeout: time.Hour})
	const total = 1000
	for n := range total {
		require.NoError(t, w.Write(t.Context(), success(n)))
	}
	require.GreaterOrEqual(t, w.Unlogged(), int64(total-10-maxLogBatch))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, w.Write(ctx, LogEntry{State: Dead}), context.Canceled)
	close(log.gate)
	w.Close()
	written := 0
	for _, batch := range log.batches {
		for _, e := range batch {
			if e.State == Completed {
				written++
			}
		}
	}
	require.Equal(t, total, written+int(w.Unlogged()), "each is in the log or counted")
}

// TestLogWriter_AFailureIsHeld: its error says that it is not in the log.
func TestLogWriter_AFailureIsHeld(t *testing.T) {
	t.Parallel()
	log := &stubLog{err: errors.New("disk full")}
	w := NewLogWriter(log, LogWriterOptions{Interval: time.Hour})
	require.NoError(t, w.Write(t.Context(), success(1)))
	err := w.Write(t.Context(), LogEntry{State: Retrying})
	require.ErrorIs(t, err, ErrUnavailable)
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	require.Equal(t, int64(1), w.Unlogged(), "the success of the same batch")
	w.Close()
	w.Close()
	require.ErrorIs(t, w.Write(t.Context(), LogEntry{State: Dead}), ErrUnavailable)
	require.NoError(t, w.Write(t.Context(), success(2)))
	require.Equal(t, int64(2), w.Unlogged())
}

// TestLogWriter_BoundedInBytes: large successes do not fill the memory; what
// they took is free again once they are written.
func TestLogWriter_BoundedInBytes(t *testing.T) {
	t.Parallel()
	log := &stubLog{gate: make(chan struct{})}
	w := NewLogWriter(log, LogWriterOptions{Bytes: 1 << 20, Interval: time.Nanosecond, Timeout: time.Hour})
	large := success(1)
	large.Payload = make([]byte, 100<<10)
	for range 100 {
		require.NoError(t, w.Write(t.Context(), large))
	}
	require.GreaterOrEqual(t, w.Unlogged(), int64(80), "about ten have room, and as many are being written")
	close(log.gate)
	require.Eventually(t, func() bool { return w.bytes.Load() == 0 }, 10*time.Second, time.Millisecond)
	before := w.Unlogged()
	require.NoError(t, w.Write(t.Context(), large))
	w.Close()
	require.Equal(t, before, w.Unlogged())
}

// TestLogWriter_ASuccessThatFailedBeforeIsNotDropped: its row would say for ever
// that it waits for a retry.
func TestLogWriter_ASuccessThatFailedBeforeIsNotDropped(t *testing.T) {
	t.Parallel()
	w := NewLogWriter(&stubLog{err: errors.New("disk full")}, LogWriterOptions{})
	e := success(1)
	e.Reason = pipeline.ReasonTimeout
	require.ErrorIs(t, w.Write(t.Context(), e), ErrUnavailable)
	require.Zero(t, w.Unlogged())
	w.Close()
}

// TestLogWriter_Batches: what waits shares a batch, in order, of bounded size.
func TestLogWriter_Batches(t *testing.T) {
	t.Parallel()
	log := &stubLog{}
	w := NewLogWriter(log, LogWriterOptions{Interval: time.Hour})
	const total = 2*maxLogBatch + 7
	for n := range total {
		require.NoError(t, w.Write(t.Context(), success(n)))
	}
	w.Close()
	require.Zero(t, w.Unlogged())
	n := 0
	for _, batch := range log.batches {
		require.LessOrEqual(t, len(batch), maxLogBatch)
		for _, e := range batch {
			require.Equal(t, fmt.Sprint(n), e.Message)
			n++
		}
	}
	require.Equal(t, total, n)
	require.Len(t, log.batches, 3)
}
