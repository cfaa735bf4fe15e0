package app

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/journal"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// yes is a store that takes whatever the journal tells it.
type yes struct{ store.Store }

func (yes) Home() string { return "" }

func (yes) Suspects(context.Context, time.Time) ([]store.Suspect, error) { return nil, nil }

func (yes) ExpireSuspects(context.Context, time.Time) (int, error) { return 0, nil }

func (yes) EndLife(context.Context, string, []store.Suspect) error { return nil }

func (yes) BeginRun(context.Context, store.SuspectKey, string, time.Duration) error { return nil }

func (yes) ExtendRun(context.Context, store.SuspectKey, string, time.Duration) error { return nil }

func (yes) EndRun(context.Context, store.SuspectKey, string) error { return nil }

func TestSuspectNotes(t *testing.T) {
	t.Parallel()

	t.Run("a suspect that hangs is named", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			j, err := journal.Open(t.Context(), journal.Options{
				File: filepath.Join(t.TempDir(), "slots"), Slots: 1, Store: yes{}, Log: slog.New(slog.DiscardHandler),
			})
			require.NoError(t, err)
			ctx := pipeline.WithOrigin(t.Context(), &pipeline.Origin{Redelivered: true})
			msg := message.NewMessageWithContext(ctx, "o-1", nil)
			suspect := j.Handler("mail", "orders", 0).Suspect(msg)
			_, err = suspect.Run(ctx, msg, func() {
				require.Empty(t, suspectNotes(j))
				time.Sleep(time.Hour) //nolint:forbidigo // synctest's time
				require.Len(t, suspectNotes(j), 1)
				require.Contains(t, suspectNotes(j)[0], "o-1 of mail ran alone and does not end")
			})
			require.NoError(t, err)
			require.Empty(t, suspectNotes(j))
			require.NoError(t, j.Close(t.Context()))
		})
	})
}
