package middleware

import (
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/journal"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func openJournal(tb testing.TB, s store.Store) *journal.Journal {
	tb.Helper()
	j, err := journal.Open(tb.Context(), journal.Options{
		File: filepath.Join(tb.TempDir(), "slots"), Slots: 64, Store: s, Log: slog.New(slog.DiscardHandler),
	})
	require.NoError(tb, err)
	tb.Cleanup(func() { require.NoError(tb, j.Close(tb.Context())) })
	return j
}

// BenchmarkJournal is what the attempt journal costs a message that is no
// suspect, where several instances share the store: it has to look at where
// each message comes from.
func BenchmarkJournal(b *testing.B) {
	h := openJournal(b, &accused{}).Handler("prepare", "orders-in", 0)
	nothing := func(*message.Message) ([]*message.Message, error) { return nil, nil }
	with := Suspects{Journal: h}.Middleware(Journal{Journal: h}.Middleware(nothing))
	for name, run := range map[string]message.HandlerFunc{"without": nothing, "with": with} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				ctx := pipeline.WithOrigin(b.Context(), &pipeline.Origin{Topic: "orders-in"})
				msg := message.NewMessageWithContext(pipeline.WithOutcome(ctx, &pipeline.Outcome{}), "0192f5e4-7c3a-7b1e-9d2f-6a5b4c3d2e1f", []byte("{}"))
				for pb.Next() {
					if _, err := run(msg); err != nil {
						b.Error(err)
					}
				}
			})
		})
	}
}

func TestJournalAllocatesNothing(t *testing.T) {
	h := openJournal(t, &accused{}).Handler("prepare", "orders-in", 0)
	run := Suspects{Journal: h}.Middleware(Journal{Journal: h}.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, nil }))
	msg, _, _ := incoming(t)
	require.Zero(t, testing.AllocsPerRun(1000, func() { _, _ = run(msg) }))
}
