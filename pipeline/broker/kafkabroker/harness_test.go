package kafkabroker

import (
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

// kafkaBrokers returns the address of the real Kafka that `make brokers`
// brought up. Without one the tests of a real server fail, unless -short.
func kafkaBrokers(t testing.TB) string {
	t.Helper()
	if addr := os.Getenv("KAFKA_BROKERS"); addr != "" {
		return addr
	}
	if testing.Short() {
		t.Skip("-short: no real Kafka")
	}
	require.FailNow(t, "KAFKA_BROKERS is not set: run `make brokers` and source .local/brokers.env")
	return ""
}

//nolint:paralleltest // the suite decides what runs side by side
func TestConformance(t *testing.T) {
	brokertest.Exercise(t, harness(kafkaBrokers(t)))
}

func harness(addr string) brokertest.Harness {
	at := cluster(addr)
	return brokertest.Harness{
		Features: brokertest.Features{
			Name: "kafka", Server: true, Log: true, Partitions: 4,
			MaxMessage: 2 << 20,
			TypedHeaders: map[string]any{
				"binary": []byte{0xff, 0x00, 0x80}, "text": []byte("plain"), "number": []byte{0, 0, 0, 42}, "empty": []byte{},
			},
		},
		Open:               at.open,
		Node:               newNode,
		Remove:             at.remove,
		Cut:                at.cut,
		Drifted:            func(topic pipeline.Topic) pipeline.Topic { topic.Partitions = 7; return topic },
		PublishRaw:         at.publishRaw,
		ReadRaw:            at.readRaw,
		PublishUndecodable: at.publishUndecodable,
		StockPublisher:     at.stockPublisher,
		StockSubscriber:    at.stockSubscriber,
	}
}
