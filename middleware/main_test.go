package middleware

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// incoming is a message as the chain gets it: with an origin and an outcome.
func incoming(t *testing.T) (*message.Message, *pipeline.Outcome, context.CancelCauseFunc) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(t.Context())
	t.Cleanup(func() { cancel(nil) })
	outcome := &pipeline.Outcome{}
	ctx = pipeline.WithOrigin(ctx, &pipeline.Origin{Topic: "orders-in", Group: "orders-in.prepare", Partition: 3, Offset: 42})
	msg := message.NewMessageWithContext(pipeline.WithOutcome(ctx, outcome), "in-1", []byte(`{"id":"7"}`))
	msg.Metadata.Set("source", "shop")
	return msg, outcome, cancel
}

// quick is a Holder that hardly waits, and tells when it holds.
func quick(held chan string) Holder {
	return Holder{
		Timeout: time.Second, Initial: time.Millisecond, Max: time.Millisecond,
		Hold: func(why string) func() {
			if held != nil {
				held <- why
			}
			return func() {}
		},
	}
}

var quiet = slog.New(slog.DiscardHandler)
