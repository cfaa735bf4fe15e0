package engine

import (
	"context"
	"log/slog"
	"reflect"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func TestOnceOf(t *testing.T) {
	t.Parallel()
	require.Nil(t, onceOf(pipeline.Kind{}, nil), "no effect, no receipts")

	once := onceOf(pipeline.Kind{Effect: true}, nil)
	msg := message.NewMessage("m-1", nil)
	require.Equal(t, "m-1", once.Subject(msg))
	msg.Metadata.Set(pipeline.MetaIDSource, pipeline.IDSourceContent)
	require.Empty(t, once.Subject(msg), "two orders may share the id")

	kind := pipeline.Kind{Effect: true, Once: func(config any) *pipeline.Once {
		if config == "simulated" {
			return nil
		}
		return pipeline.OncePerID()
	}}
	require.Nil(t, onceOf(kind, "simulated"))
	require.NotNil(t, onceOf(kind, "real"))
}

// What has no effect has nothing around it, and nothing looks after receipts.
func TestReceipts_CostNothingWithoutEffects(t *testing.T) {
	t.Parallel()
	kind := func(*message.Message) ([]*message.Message, error) { return nil, nil }
	rs := &receipts{store: struct{ store.Store }{}}
	around := rs.around(&route{}, middleware.Holder{})(kind)
	require.Equal(t, reflect.ValueOf(kind).Pointer(), reflect.ValueOf(around).Pointer())
	require.False(t, rs.used)
	rs.start()
	rs.stop()
}

// stuck is a store that never answers how many receipts are too old.
type stuck struct {
	store.Store
	renewed atomic.Int32
}

func (s *stuck) RenewReceipts(context.Context, string, ...store.ReceiptKey) error {
	s.renewed.Add(1)
	return nil
}

func (s *stuck) ExpireReceipts(ctx context.Context, _ time.Time, _ int) (int, error) {
	<-ctx.Done()
	return 0, ctx.Err()
}

func TestReceipts_AreRenewedWhateverBecomesOfOldOnes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &stuck{}
		rs := &receipts{store: s, keep: time.Hour, used: true, log: slog.New(slog.DiscardHandler)}
		rs.start()
		time.Sleep(receiptLease) //nolint:forbidigo // of synctest's clock
		rs.stop()
		require.GreaterOrEqual(t, s.renewed.Load(), int32(3))
	})
}
