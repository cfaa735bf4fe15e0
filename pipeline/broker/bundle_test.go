package broker

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

func idsOf(bundle *message.Message) []string {
	var ids []string
	for _, msg := range MessagesOf(bundle) {
		ids = append(ids, msg.UUID)
	}
	return ids
}

// TestBundles: what may run at a moment goes out together, within the bound of
// what may run at a time; each message is settled by itself.
func TestBundles(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newTestSubscriber(Subscription{Concurrency: 4, InFlight: 100}, &fakeSource{total: 6, claims: 1})
		bundles, err := s.Bundles().Subscribe(t.Context(), "t")
		require.NoError(t, err)
		first := <-bundles
		require.Equal(t, []string{"0", "1", "2", "3"}, idsOf(first))
		synctest.Wait()
		select {
		case bundle := <-bundles:
			t.Fatalf("%v run beside four others", idsOf(bundle))
		default:
		}
		msgs := MessagesOf(first)
		Settle(msgs[2], true)
		Settle(msgs[2], true) // again
		require.Equal(t, []string{"4"}, idsOf(<-bundles), "nobody waits for a bundle to be full")
		require.ErrorIs(t, msgs[2].Context().Err(), context.Canceled)

		Settle(msgs[1], false)
		again := MessagesOf(<-bundles)[0]
		require.Equal(t, "1", again.UUID, "what is not done comes again, and has its place meanwhile")
		require.NoError(t, again.Context().Err())
		require.NotSame(t, msgs[1], again)
		Settle(msgs[0], false)
		Settle(msgs[0], true) // too late, as with Watermill's
		require.Equal(t, []string{"0"}, idsOf(<-bundles))
		Settle(msgs[3], true)
		require.Equal(t, []string{"5"}, idsOf(<-bundles))
		Settle(message.NewMessage("own", nil), true) // of no subscription

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err = s.Drain(ctx)
		require.ErrorContains(t, err, "4 messages were being handled")
		require.ErrorIs(t, context.Cause(again.Context()), pipeline.ErrStopping)
		require.Equal(t, 100, s.window.Room(), "it has let go of what runs")
		Settle(again, true) // too late
	})
}

// TestBundles_Closing: what the reader does not take goes back when its claim
// ends, and nothing waits behind it.
func TestBundles_Closing(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		source := twoClaims{make(chan [2]*Claim, 1)}
		s := newTestSubscriber(Subscription{Ordering: pipeline.OrderingKey, Concurrency: 1, InFlight: 10}, source)
		bundles, err := s.Bundles().Subscribe(t.Context(), "t")
		require.NoError(t, err)
		claims := <-source.claims
		old, fresh := claims[0], claims[1]
		for i, id := range []string{"a", "b"} {
			require.NoError(t, old.Deliver(t.Context(), Delivery{Message: message.NewMessage(id, nil), Key: "k", Position: int64(i)}))
		}
		require.NoError(t, fresh.Deliver(t.Context(), Delivery{Message: message.NewMessage("c", nil), Lane: "k"}))
		synctest.Wait()
		over, end := context.WithCancel(t.Context())
		end()
		require.Error(t, old.Close(over), "one of them had begun")
		got := <-bundles
		require.Equal(t, []string{"c"}, idsOf(got))
		Settle(MessagesOf(got)[0], true)
		require.NoError(t, s.Drain(t.Context()))
		require.Empty(t, old.Take(Progress{}).Prefix)
		require.Equal(t, 10, s.window.Room())
	})
}
