package replay

import (
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/sqlitestore"
)

// BenchmarkSend is what a letter costs from the selection to its place before
// the handler, at full rate.
func BenchmarkSend(b *testing.B) {
	s, err := sqlitestore.Open(b.Context(), filepath.Join(b.TempDir(), "waybill.db"), store.Options{})
	require.NoError(b, err)
	defer s.Close()
	var writes []pipeline.Write
	for i := range b.N {
		l := dead(i)
		l.Key = fmt.Sprint(i)
		writes = append(writes, s.Bury(l))
		if len(writes) == 1000 || i == b.N-1 {
			require.NoError(b, s.Do(b.Context(), writes...))
			writes = writes[:0]
		}
	}
	runner := New(Options{
		Store: s, Log: slog.New(slog.DiscardHandler),
		Handler: func(name string) (pipeline.Handler, bool) { return pipeline.Handler{Name: name}, true },
		Topic:   func(name string) (pipeline.Topic, bool) { return pipeline.Topic{Name: name}, true },
	})
	b.ResetTimer()
	sel, err := s.Select(b.Context(), store.Selection{})
	require.NoError(b, err)
	_, err = runner.Begin(b.Context(), store.Replay{Selection: sel.ID, By: "ada"})
	require.NoError(b, err)
	lease, ok, err := s.LeaseReplay(b.Context(), leaseTime)
	require.NoError(b, err)
	require.True(b, ok)
	r := &run{Runner: runner, lease: lease, log: slog.New(slog.DiscardHandler)}
	require.NoError(b, r.prepare(b.Context()))
	for sent := 0; sent < b.N; {
		n, err := r.send(context.Background(), batch)
		require.NoError(b, err)
		sent += n
	}
}
