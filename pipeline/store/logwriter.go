package store

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of LogWriterOptions.
const (
	defaultLogQueue    = 8192
	defaultLogBytes    = 64 << 20
	defaultLogInterval = 200 * time.Millisecond
	defaultLogTimeout  = 5 * time.Second
	maxLogBatch        = 500
)

// LogWriterOptions are the settings of a LogWriter.
type LogWriterOptions struct {
	Queue    int           // entries that may wait; default 8,192
	Bytes    int64         // of successes that may wait, about; default 64 MiB
	Interval time.Duration // how long one waits for others at most; default 200 ms
	Timeout  time.Duration // of one batch; default 5 s
}

// LogWriter writes the message log off the hot path: entries wait in a bounded
// queue and are written in batches by one goroutine. It never slows down what
// succeeds: while the log is slow or away, successes are counted as Unlogged.
// What fails, even if it succeeds in the end, is not dropped: Write returns when
// its entry is in the log, and with an error if it is not, so that the message
// can be held. So who waits is bounded by what is in flight.
type LogWriter struct {
	log      Log
	interval time.Duration
	timeout  time.Duration
	queue    chan logRequest
	urgent   chan struct{} // holds a token while somebody waits for a batch
	unlogged atomic.Int64
	maxBytes int64
	bytes    atomic.Int64 // of the successes that wait

	mu     sync.RWMutex // held for reading while an entry enters the queue
	closed bool
	done   chan struct{}
}

// logRequest is an entry, and who waits for it to be written.
type logRequest struct {
	entry LogEntry
	done  chan error // nil: nobody
}

// NewLogWriter starts a writer. It ends with Close.
func NewLogWriter(log Log, opts LogWriterOptions) *LogWriter {
	w := &LogWriter{
		log: log, interval: opts.Interval, timeout: opts.Timeout,
		urgent: make(chan struct{}, 1), done: make(chan struct{}),
	}
	if opts.Queue <= 0 {
		opts.Queue = defaultLogQueue
	}
	if w.interval <= 0 {
		w.interval = defaultLogInterval
	}
	if w.timeout <= 0 {
		w.timeout = defaultLogTimeout
	}
	if w.maxBytes = opts.Bytes; w.maxBytes <= 0 {
		w.maxBytes = defaultLogBytes
	}
	w.queue = make(chan logRequest, opts.Queue)
	go w.run()
	return w
}

// Unlogged returns how many successes are not in the log.
func (w *LogWriter) Unlogged() int64 { return w.unlogged.Load() }

// Write takes an entry. One that is Completed and never failed is accepted at
// once, or counted as unlogged; the error is nil. Any other is waited for: the
// error says that it is not in the log, and is ErrUnavailable or ctx's.
func (w *LogWriter) Write(ctx context.Context, e LogEntry) error {
	w.mu.RLock()
	if w.closed {
		w.mu.RUnlock()
		return w.refuse(e, errors.New("the log is closed"))
	}
	if succeeds(e) {
		if !w.offer(e) {
			w.unlogged.Add(1)
		}
		w.mu.RUnlock()
		return nil
	}
	r := logRequest{entry: e, done: make(chan error, 1)}
	err := w.enqueue(ctx, r)
	w.mu.RUnlock()
	if err != nil {
		return err
	}
	select {
	case err := <-r.done:
		return err
	case <-ctx.Done():
		return fmt.Errorf("write to the message log: %w", ctx.Err()) // it may be written yet
	}
}

func succeeds(e LogEntry) bool { return e.State == Completed && e.Reason == "" }

// offer takes a success if there is room for it.
func (w *LogWriter) offer(e LogEntry) bool {
	size := weight(e)
	if w.bytes.Add(size) <= w.maxBytes {
		select {
		case w.queue <- logRequest{entry: e}:
			return true
		default:
		}
	}
	w.bytes.Add(-size)
	return false
}

// weight is about what an entry takes in memory.
func weight(e LogEntry) int64 {
	size := 1<<10 + len(e.Payload) // headers and the entry itself are small
	for _, a := range e.Attempts {
		for _, line := range a.Lines {
			size += len(line.Text) + 64*(1+len(line.Attrs))
		}
	}
	return int64(size)
}

func (w *LogWriter) refuse(e LogEntry, err error) error {
	if succeeds(e) {
		w.unlogged.Add(1)
		return nil
	}
	return fmt.Errorf("write to the message log: %w: %w", ErrUnavailable, err)
}

// enqueue waits for room, and asks for a batch now.
func (w *LogWriter) enqueue(ctx context.Context, r logRequest) error {
	select {
	case w.queue <- r:
	case <-ctx.Done():
		return fmt.Errorf("write to the message log: %w", ctx.Err())
	}
	select {
	case w.urgent <- struct{}{}:
	default: // somebody has asked
	}
	return nil
}

// run writes batches until the queue is closed and empty.
func (w *LogWriter) run() {
	defer close(w.done)
	for first := range w.queue {
		w.flush(w.gather(first))
	}
}

// gather waits for company until the batch is full, somebody waits for it, or
// the interval is over.
func (w *LogWriter) gather(first logRequest) []logRequest {
	batch := []logRequest{first}
	over := time.NewTimer(w.interval)
	defer over.Stop()
	for waits := true; len(batch) < maxLogBatch; {
		if waits {
			select {
			case r, open := <-w.queue:
				if !open {
					return batch
				}
				batch = append(batch, r)
				continue
			case <-w.urgent:
			case <-over.C:
			}
			waits = false
		}
		select {
		case r, open := <-w.queue:
			if !open {
				return batch
			}
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// flush writes a batch and tells those who wait.
func (w *LogWriter) flush(batch []logRequest) {
	entries := make([]LogEntry, len(batch))
	for i, r := range batch {
		entries[i] = r.entry
		if r.done == nil {
			w.bytes.Add(-weight(r.entry))
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), w.timeout)
	defer cancel()
	err := w.log.AppendLog(ctx, entries)
	for _, r := range batch {
		if err != nil {
			r.answer(w.refuse(r.entry, err))
			continue
		}
		r.answer(nil)
	}
}

func (r logRequest) answer(err error) {
	if r.done != nil {
		r.done <- err
	}
}

// Close writes what waits and ends the writer. It is idempotent.
func (w *LogWriter) Close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.queue)
	}
	w.mu.Unlock()
	<-w.done
}
