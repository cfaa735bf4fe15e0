package messagelog

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// TestCapture_NeverAnotherMessagesLines: many messages at once, under names
// that begin alike, on one logger.
func TestCapture_NeverAnotherMessagesLines(t *testing.T) {
	t.Parallel()
	t.Run("1-W11 consumer-1 has none of consumer-10's lines, and a message none of the one before it", func(t *testing.T) {
		t.Parallel()
		s := &stub{}
		l := New(Options{Config: everything, Store: s})
		log := slog.New(Capture(slog.DiscardHandler))
		var running sync.WaitGroup
		for worker := range 20 {
			running.Go(func() {
				for n := range 20 {
					id := fmt.Sprintf("consumer-%d", worker)
					msg, o, h := handled(l, fmt.Sprintf("%s/%d", id, n), nil)
					if n%2 == 0 { // the others fail before a run begins
						h.Began(worker)
						log.With("worker", id).InfoContext(msg.Context(), "line of "+msg.UUID)
						log.Info("line of nobody")
						h.Ended(nil)
					}
					o.Result = pipeline.ResultOK
					e, wanted := h.End(o)
					h.Close()
					log.InfoContext(msg.Context(), "too late")
					if !wanted || l.Keep(context.Background(), e) != nil {
						panic("a success is wanted and does not wait")
					}
				}
			})
		}
		running.Wait()
		l.Close()
		require.Len(t, s.entries, 400)
		for _, e := range s.entries {
			var lines []string
			for _, a := range e.Attempts {
				for _, line := range a.Lines {
					lines = append(lines, line.Text)
				}
			}
			var want []string
			if strings.ContainsRune("02468", rune(e.Message[len(e.Message)-1])) {
				want = []string{"line of " + e.Message}
			}
			require.Equal(t, want, lines, e.Message)
		}
	})
}

// TestCapture_PassesOn: what the next handler shows is its own business.
func TestCapture_PassesOn(t *testing.T) {
	t.Parallel()
	var out strings.Builder
	log := slog.New(Capture(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelWarn}))).With("a", 1).WithGroup("g").With("b", 2)
	l := New(Options{Config: everything, Store: &stub{}})
	defer l.Close()
	msg, _, h := handled(l, "m", nil)
	defer h.Close()
	log.WarnContext(msg.Context(), "shown", "c", 3, slog.Group("in", "d", 4))
	log.DebugContext(msg.Context(), "kept only")
	log.Log(msg.Context(), slog.LevelDebug-4, "nowhere")
	require.Equal(t, 1, strings.Count(out.String(), "\n"))
	require.Contains(t, out.String(), "a=1 g.b=2 g.c=3 g.in.d=4")
	lines := l.Running()[0].Attempts[0].Lines
	require.Len(t, lines, 2)
	require.Equal(t, map[string]string{"a": "1", "g.b": "2", "g.c": "3", "g.in.d": "4"}, lines[0].Attrs)
	require.Equal(t, "DEBUG", lines[1].Level)
}

// TestHandling_LinesAreBounded: in number, in bytes, and in the length of one.
func TestHandling_LinesAreBounded(t *testing.T) {
	t.Parallel()
	l := New(Options{Config: everything, Store: &stub{}})
	defer l.Close()
	log := slog.New(Capture(slog.DiscardHandler))
	for text, kept := range map[string]int{"x": maxLines, strings.Repeat("ä", maxText): maxLineBytes / maxText} {
		msg, o, h := handled(l, "m", nil)
		h.Began(0)
		for range 1000 {
			log.InfoContext(msg.Context(), text)
		}
		h.Ended(errors.New(text))
		o.Result = pipeline.ResultDead
		o.Failed(errors.New(text), time.Now())
		e, wanted := h.End(o)
		h.Close()
		require.True(t, wanted)
		a := e.Attempts[0]
		require.Len(t, a.Lines, kept)
		require.Equal(t, 1000-kept, a.Cut)
		for _, bounded := range []string{a.Lines[0].Text, a.Error, e.Error} {
			require.LessOrEqual(t, len(bounded), maxText)
		}
	}
	require.Empty(t, l.Running())
}

// TestLog_MemoryIsBounded: with a store that stands still, successes leave
// nothing behind but what the queue takes, and each that is not taken is
// counted.
func TestLog_MemoryIsBounded(t *testing.T) {
	t.Parallel()
	s := &stub{gate: make(chan struct{})}
	const room = 4 << 20
	l := New(Options{Config: everything, Store: s, Writer: store.LogWriterOptions{Bytes: room, Interval: time.Nanosecond, Timeout: time.Hour}})
	const total, size = 20_000, 10_000 // 200 MB together
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	for n := range total {
		_, o, h := handled(l, fmt.Sprint(n), make([]byte, size))
		h.Began(0)
		h.Ended(nil)
		o.Result = pipeline.ResultOK
		e, _ := h.End(o)
		h.Close()
		require.NoError(t, l.Keep(t.Context(), e))
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	require.Less(t, int64(after.HeapAlloc)-int64(before.HeapAlloc), int64(64<<20))
	require.Empty(t, l.Running())
	close(s.gate)
	l.Close()
	require.Equal(t, total, len(s.entries)+int(l.Unlogged()), "each is in the log or counted")
	require.NotEmpty(t, s.entries)
}

// TestLog_SampleIsAShare: of ids that count up, too, and alike each time.
func TestLog_SampleIsAShare(t *testing.T) {
	t.Parallel()
	l := New(Options{Config: pipeline.MessageLog{Mode: pipeline.LogSample, Share: 0.1}, Store: &stub{}})
	defer l.Close()
	kept := 0
	for n := range 10_000 {
		if l.wants(fmt.Sprint("order-", n), &pipeline.Outcome{Result: pipeline.ResultOK}) {
			kept++
		}
	}
	require.InDelta(t, 1000, kept, 100)
	require.True(t, l.wants("any", &pipeline.Outcome{Result: pipeline.ResultDead}))
	require.True(t, l.wants("any", &pipeline.Outcome{Result: pipeline.ResultOK, Reason: pipeline.ReasonTimeout}), "it failed before")
}

func TestHandling_WithoutAnOutcomeIsNotKept(t *testing.T) {
	t.Parallel()
	l := New(Options{Config: everything, Store: &stub{}})
	defer l.Close()
	for result, why := range map[pipeline.Result]string{
		pipeline.ResultStopped: "its broker keeps it",
		pipeline.ResultVoid:    "another instance has it, and may still fail",
	} {
		_, o, h := handled(l, "m", nil)
		o.Result, o.Reason = result, pipeline.ReasonTimeout
		_, wanted := h.End(o)
		require.False(t, wanted, why)
		h.Close()
	}
}

// TestWatch_NobodyWaits: who does not read is told how much was missed.
func TestWatch_NobodyWaits(t *testing.T) {
	t.Parallel()
	l := New(Options{Config: everything, Store: &stub{}})
	ready, first, read := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var missed, seen int
	done := make(chan error)
	go func() {
		done <- l.Watch(context.Background(), store.Is(store.FieldMessage, "m"), func() { close(ready) }, func(e Event) error {
			if seen++; seen == 1 {
				close(first)
				<-read
			}
			missed += e.Missed
			return nil
		})
	}()
	<-ready
	_, _, other := handled(l, "other", nil)
	other.Began(0)
	_, _, h := handled(l, "m", nil)
	h.Began(0)
	<-first
	const total = 3 * maxBehind
	for range total {
		h.note(store.LogLine{Text: "x"}, 1)
	}
	close(read)
	require.Eventually(t, func() bool { return len(watcherOf(l).events) < maxBehind }, 10*time.Second, time.Millisecond)
	h.note(store.LogLine{Text: "the last"}, 1)
	h.Close()
	other.Close()
	l.Close()
	require.ErrorIs(t, <-done, ErrClosed)
	require.Equal(t, total+2, seen+missed, "what is not seen is told")
	require.GreaterOrEqual(t, missed, total-maxBehind-2)
}

func watcherOf(l *Log) *watcher {
	l.feed.mu.Lock()
	defer l.feed.mu.Unlock()
	for w := range l.feed.watchers {
		return w
	}
	return nil
}
