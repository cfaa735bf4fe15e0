package prove

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/broker/kafkabroker"
	"github.com/waybill-dev/waybill/pipeline/broker/rabbitbroker"
	"github.com/waybill-dev/waybill/routerconfig"
)

// open returns the plant's broker as a producer has it.
func (p *plant) open(t *testing.T) broker.Broker {
	t.Helper()
	loaded, err := routerconfig.Load(p.config, routerconfig.Options{Kinds: handlers.Builtin()})
	require.NoError(t, err)
	opts := broker.Options{
		Instance: "producer",
		Topic:    func(name string) (pipeline.Topic, bool) { topic, ok := loaded.Pipeline.Topics[name]; return topic, ok },
		Log:      slog.New(slog.DiscardHandler),
	}
	open := rabbitbroker.Open
	if p.driver == pipeline.DriverKafka {
		open = kafkabroker.Open
	}
	b, err := open(loaded.Pipeline.Brokers["main"], opts)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, b.Close()) })
	return b
}
