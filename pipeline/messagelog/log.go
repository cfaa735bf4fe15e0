package messagelog

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"math"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Options are what a Log is made of.
type Options struct {
	Config   pipeline.MessageLog
	Instance string // names this process in the log
	Store    store.Log
	Metrics  prometheus.Registerer  // may be nil
	Trouble  func(error)            // is told why the retention does not work; may be nil
	Writer   store.LogWriterOptions // the zero value: its defaults
}

// Log is the message log of one process. It is for any number of goroutines.
type Log struct {
	config   pipeline.MessageLog
	instance string
	writer   *store.LogWriter
	feed     feed
	stop     context.CancelFunc
	trimming sync.WaitGroup

	mu      sync.Mutex
	running map[*Handling]struct{}
}

// New starts a log. End it with Close, before the store is closed and after
// the last message is handled.
func New(opts Options) *Log {
	l := &Log{
		config: opts.Config, instance: opts.Instance,
		writer: store.NewLogWriter(opts.Store, opts.Writer), running: make(map[*Handling]struct{}),
	}
	unlogged := prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "waybill_log_unlogged_total",
		Help: "Messages that succeeded and are not in the message log, as its store was slow or away.",
	}, func() float64 { return float64(l.Unlogged()) })
	trimmed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "waybill_log_trimmed_total", Help: "Entries of the message log that its retention has deleted.",
	}, []string{"state"})
	if opts.Metrics != nil {
		opts.Metrics.MustRegister(unlogged, trimmed)
	}
	t := trimmer{log: opts.Store, rules: rulesOf(opts.Config), trouble: opts.Trouble, trimmed: trimmed}
	ctx, stop := context.WithCancel(context.Background())
	l.stop = stop
	l.trimming.Go(func() { t.run(ctx) })
	return l
}

// Close writes what waits to be written, ends those who watch, and returns
// when nothing of the log runs any more.
func (l *Log) Close() {
	l.stop()
	l.feed.close()
	l.writer.Close()
	l.trimming.Wait()
}

// Unlogged returns how many successes are not in the log since the process
// started.
func (l *Log) Unlogged() int64 { return l.writer.Unlogged() }

// Route is what the messages of one handler have in common.
type Route struct {
	Handler      string
	Topic        string
	Subscription string
	Key          func(*message.Message) string // nil: there are no keys
}

// Begin notes that a message is being handled. End the handling with Close.
func (l *Log) Begin(r *Route, msg *message.Message) *Handling {
	h := &Handling{log: l, route: r, msg: msg, origin: pipeline.OriginOf(msg.Context()), since: time.Now(), room: maxLineBytes}
	h.again = store.LeaseOf(msg.Context()) != nil || h.origin != nil && h.origin.Redelivered
	h.id, _ = pipeline.IdentityOf(msg.Context())
	if r.Key != nil {
		h.key = r.Key(msg)
	}
	l.mu.Lock()
	l.running[h] = struct{}{}
	l.mu.Unlock()
	return h
}

// wants reports whether a message with this id and outcome is kept. What
// failed is, even if it succeeded in the end.
func (l *Log) wants(id string, o *pipeline.Outcome) bool {
	switch {
	case o.Result != pipeline.ResultOK || o.Reason != "":
		return true
	case l.config.Mode == pipeline.LogSample:
		return share(id) < l.config.Share
	}
	return l.config.Mode == pipeline.LogAll
}

// share places an id between 0 and 1, alike in every handler and process.
func share(id string) float64 {
	sum := sha256.Sum256([]byte(id)) // ids that count up must not fall together
	return float64(binary.BigEndian.Uint64(sum[:])) / math.MaxUint64
}

// Keep writes an entry. What never failed is taken at once, or counted as
// unlogged; the error of anything else says that it is not in the log.
func (l *Log) Keep(ctx context.Context, e store.LogEntry) error { return l.writer.Write(ctx, e) }

// Running returns what is being handled now, the newest first.
func (l *Log) Running() []store.LogEntry {
	l.mu.Lock()
	all := make([]*Handling, 0, len(l.running))
	for h := range l.running {
		all = append(all, h)
	}
	l.mu.Unlock()
	slices.SortFunc(all, func(a, b *Handling) int {
		if c := b.since.Compare(a.since); c != 0 {
			return c
		}
		return strings.Compare(a.msg.UUID, b.msg.UUID)
	})
	entries := make([]store.LogEntry, len(all))
	for i, h := range all {
		entries[i] = h.now()
	}
	return entries
}

func (l *Log) forget(h *Handling) {
	l.mu.Lock()
	delete(l.running, h)
	l.mu.Unlock()
}
