package app

import (
	"context"
	"fmt"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// minBenchSize is the smallest order that bench makes up.
const minBenchSize = 150

// benchMessages are what bench publishes.
type benchMessages struct {
	payload []byte // nil: an order made up
	size    int
	keys    int
}

// message makes the n-th. Its key travels as metadata, so that any payload
// spreads over the keys.
func (b benchMessages) message(ctx context.Context, n int) *message.Message {
	msg := message.NewMessageWithContext(ctx, newID(), b.bytes(n))
	msg.Metadata.Set(pipeline.MetaPartitionKey, fmt.Sprintf("key-%d", n*7919%b.keys)) // 7919 is prime: all keys come up
	return msg
}

func (b benchMessages) bytes(n int) []byte {
	if b.payload != nil {
		return b.payload
	}
	head := fmt.Sprintf(`{"orderId":"bench-%d","order_lines":[{"sku":"L-1","type":"lens","price":2.50,"quantity":1}],"total":2.50,"note":"`, n)
	return []byte(head + strings.Repeat("x", max(0, b.size-len(head)-2)) + `"}`)
}
