package broker

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// twoClaims is a source with a claim at a broker and one of our own.
type twoClaims struct{ claims chan [2]*Claim }

func (s twoClaims) Run(ctx context.Context, w *Window) error {
	both := [2]*Claim{w.Claim(ClaimOptions{}), w.Claim(ClaimOptions{Own: true})}
	s.claims <- both
	<-w.Draining()
	for _, c := range both {
		_ = c.Close(ctx)
	}
	return nil
}

// TestOwnClaim: messages of our own making share the lanes of those that a
// broker hands out, and are nothing that a broker knows.
func TestOwnClaim(t *testing.T) {
	t.Parallel()
	source := twoClaims{make(chan [2]*Claim, 1)}
	sub := Subscription{Name: "t.h", Topic: pipeline.Topic{Name: "t"}, Ordering: pipeline.OrderingKey, Concurrency: 4, InFlight: 4}
	s := NewSubscriber(sub, source, slog.New(slog.DiscardHandler))
	messages, err := s.Subscribe(t.Context(), "t")
	require.NoError(t, err)
	claims := <-source.claims
	theirs, ours := claims[0], claims[1]
	require.Equal(t, 4, s.window.Room())

	type mark struct{}
	before := time.Now()
	own := Delivery{
		Message: message.NewMessage("ours", nil), Lane: "a", Origin: pipeline.Origin{Topic: "t"},
		Context: func(ctx context.Context) context.Context { return context.WithValue(ctx, mark{}, "lease") },
	}
	require.NoError(t, ours.Deliver(t.Context(), own))
	require.NoError(t, theirs.Deliver(t.Context(), Delivery{Message: message.NewMessage("same key", nil), Key: "a"}))
	require.NoError(t, theirs.Deliver(t.Context(), Delivery{Message: message.NewMessage("other", nil), Key: "b", Position: 1}))
	require.Equal(t, 1, s.window.Room())

	got := map[string]*message.Message{}
	for range 2 {
		msg := <-messages
		got[msg.UUID] = msg
	}
	require.Contains(t, got, "ours")
	require.Contains(t, got, "other", "the one of the same key waits")
	claim, _ := ClaimOf(got["ours"])
	require.Nil(t, claim)
	require.Equal(t, "lease", got["ours"].Context().Value(mark{}))
	require.Equal(t, "t", pipeline.OriginOf(got["ours"].Context()).Topic)
	require.Equal(t, []string{"a", "b", ""}, []string{LaneOf(got["ours"]), LaneOf(got["other"]), LaneOf(message.NewMessage("", nil))})
	claim, _ = ClaimOf(got["other"])
	require.Same(t, theirs, claim)
	require.False(t, claim.Begun().Before(before))

	got["ours"].Ack()
	msg := <-messages
	require.Equal(t, "same key", msg.UUID)
	<-ours.Changed()
	require.Equal(t, []int64{0}, ours.Take(Progress{}).Prefix)
	msg.Ack()
	got["other"].Ack()
	require.NoError(t, s.Drain(t.Context()))
}
