package engine

import (
	"reflect"
	"testing"

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
