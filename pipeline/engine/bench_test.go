package engine

import (
	"context"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/journal"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// BenchmarkMessage is what the engine alone costs a message: window, router
// and chain around a kind that does nothing, with a broker that only confirms,
// a batch at a time, as real ones do.
func BenchmarkMessage(b *testing.B) {
	for _, ordering := range []pipeline.Ordering{pipeline.OrderingNone, pipeline.OrderingKey} {
		b.Run(string(ordering), func(b *testing.B) { benchmarkMessage(b, ordering, nil, nil) })
	}
	// What the attempt journal adds to a route whose messages are no suspects.
	b.Run("none, journaled", func(b *testing.B) {
		j, err := journal.Open(b.Context(), journal.Options{
			File: filepath.Join(b.TempDir(), "slots"), Slots: 64, Store: benchStore{}, Log: slog.New(slog.DiscardHandler),
		})
		require.NoError(b, err)
		benchmarkMessage(b, pipeline.OrderingNone, nil, j)
		require.NoError(b, j.Close(context.Background()))
	})
	// What the message log adds to the chain; writing it is beside the chain.
	b.Run("none, logged", func(b *testing.B) {
		l := messagelog.New(messagelog.Options{Config: pipeline.MessageLog{Mode: pipeline.LogAll, Payload: true}, Instance: "bench", Store: benchLog{}})
		defer l.Close()
		benchmarkMessage(b, pipeline.OrderingNone, l, nil)
	})
}

// benchLog takes entries and forgets them.
type benchLog struct{ store.Log }

func (benchLog) AppendLog(context.Context, []store.LogEntry) error   { return nil }
func (benchLog) TrimLog(context.Context, store.LogRule) (int, error) { return 0, nil }

// benchStore is a store without suspects.
type benchStore struct{ store.Store }

func (benchStore) Home() string                                                 { return "" }
func (benchStore) EndLife(context.Context, string, []store.Suspect) error       { return nil }
func (benchStore) ExpireSuspects(context.Context, time.Time) (int, error)       { return 0, nil }
func (benchStore) Suspects(context.Context, time.Time) ([]store.Suspect, error) { return nil, nil }

func benchmarkMessage(b *testing.B, ordering pipeline.Ordering, l *messagelog.Log, j *journal.Journal) {
	bench := &benchBroker{fake: newFake(), n: b.N, confirm: make(chan pipeline.Confirmer, 1024), done: make(chan struct{})}
	e, err := New(Options{
		Pipeline: pipeline.Pipeline{
			ShutdownTimeout: time.Minute, Brokers: map[string]pipeline.Broker{"main": {Name: "main"}},
			Topics: map[string]pipeline.Topic{"in": {Name: "in", Broker: "main"}, "out": {Name: "out", Broker: "main"}},
			Handlers: []pipeline.Handler{{
				Name: "work", Kind: "test", From: "in", To: map[string]string{"": "out"}, DeadLetter: "out",
				Concurrency: 64, InFlight: 512, Ordering: ordering, Timeout: 30 * time.Second,
				Retry: pipeline.Retry{Immediate: 2, Initial: time.Millisecond},
			}},
		},
		Kinds: pipeline.NewKinds(pipeline.Kind{
			Name: "test", NewConfig: func() any { return nil },
			New: func(pipeline.Env, any) (message.HandlerFunc, error) { return pass, nil },
		}),
		Brokers:  map[string]broker.Broker{"main": bench},
		Messages: l,
		Journal:  j,
		Log:      slog.New(slog.DiscardHandler),
		Metrics:  prometheus.NewRegistry(),
	})
	require.NoError(b, err)
	var confirming sync.WaitGroup
	confirming.Go(bench.confirmAll)
	b.ReportAllocs()
	b.ResetTimer()
	e.Start()
	<-bench.done
	b.StopTimer()
	require.NoError(b, e.Stop(context.Background()))
	close(bench.confirm)
	confirming.Wait()
}

// benchBroker delivers n messages and confirms what is published.
type benchBroker struct {
	*fake
	n       int
	confirm chan pipeline.Confirmer
	done    chan struct{} // closed when all n are acknowledged
}

func (f *benchBroker) Publisher() message.Publisher             { return f }
func (f *benchBroker) Source(broker.Subscription) broker.Source { return f }

func (f *benchBroker) Start(_ string, _ *message.Message, to pipeline.Confirmer, _ int) bool {
	f.confirm <- to
	return true
}

func (f *benchBroker) confirmAll() {
	for c := range f.confirm {
		c.Confirmed(0, nil)
	}
}

func (f *benchBroker) Run(ctx context.Context, w *broker.Window) error {
	claim := w.Claim(broker.ClaimOptions{})
	var delivering sync.WaitGroup
	delivering.Go(func() {
		payload := make([]byte, 1000)
		for i := range f.n {
			msg := pipeline.NewMessage(strconv.Itoa(i), payload, nil)
			d := broker.Delivery{Message: msg, Position: int64(i), Key: strconv.Itoa(i % 10_000), Origin: pipeline.Origin{Topic: "in", Offset: int64(i)}}
			if claim.Deliver(ctx, d) != nil {
				return
			}
		}
	})
	defer delivering.Wait()
	var p broker.Progress
	for acked := 0; acked < f.n; {
		select {
		case <-claim.Changed():
			p = claim.Take(p)
			acked += len(p.Prefix) + len(p.Above)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	close(f.done)
	<-w.Draining()
	return claim.Close(ctx)
}
