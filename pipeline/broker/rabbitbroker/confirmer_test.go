package rabbitbroker

import (
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"golang.org/x/sync/semaphore"
	"pgregory.net/rapid"
)

// newTestConfirmer is a confirmer without a channel, with n messages in flight,
// that are told to the returned.
func newTestConfirmer(n int) (*confirmer, answers) {
	c := &confirmer{ch: &amqp.Channel{}, room: semaphore.NewWeighted(roomBytes), first: 1}
	to := make(answers, n)
	for i := range n {
		f := &flight{out: &outgoing{}, to: to, no: i + 1}
		_ = c.room.TryAcquire(f.out.charge())
		c.flying = append(c.flying, f)
	}
	return c, to
}

// heard returns who was told since the last call.
func (a answers) heard() (numbers []int, refused int) {
	for {
		select {
		case one := <-a:
			numbers = append(numbers, one.number)
			if one.err != nil {
				refused++
			}
		default:
			return numbers, refused
		}
	}
}

// TestConfirmer_EachOnce: whatever confirms come in whatever order, each message
// is told of by the first that is about it, those of a multiple one in the order
// in which they were sent, and its room is free.
func TestConfirmer_EachOnce(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "messages")
		c, to := newTestConfirmer(n)
		open := make(map[int]bool, n)
		for i := 1; i <= n; i++ {
			open[i] = true
		}
		for range rapid.IntRange(0, 30).Draw(t, "confirms") {
			number := rapid.IntRange(0, n+2).Draw(t, "number")
			multiple, acked := rapid.Bool().Draw(t, "multiple"), rapid.Bool().Draw(t, "acked")
			var want []int
			for i := 1; i <= n; i++ {
				if open[i] && number <= n && (i == number || multiple && i < number) {
					want = append(want, i)
					delete(open, i)
				}
			}
			c.confirmed(uint64(number), multiple, acked)
			got, refused := to.heard()
			require.Equal(t, want, got)
			require.Equal(t, !acked && len(want) > 0, refused > 0)
		}
		c.confirmed(uint64(n), true, true)
		got, _ := to.heard()
		require.Len(t, got, len(open))
		require.True(t, c.room.TryAcquire(roomBytes), "all room is free again")
		require.Empty(t, c.flying)
	})
}

// TestStart_OneStuckHoldsUpNobody: a message whose queue confirms nothing keeps
// those that were sent after it, to other queues, from nothing.
func TestStart_OneStuckHoldsUpNobody(t *testing.T) {
	t.Parallel()
	c, to := newTestConfirmer(4)
	for _, number := range []int{3, 2, 4} {
		c.confirmed(uint64(number), false, true)
		got, _ := to.heard()
		require.Equal(t, []int{number}, got)
	}
	require.Len(t, c.flying, 4, "the first is not done")
	c.confirmed(1, false, true)
	require.Empty(t, c.flying)
}

// TestConfirmer_Closed: once amqp091-go has closed the channel, which loses what
// comes back, a message is not taken for confirmed.
func TestConfirmer_Closed(t *testing.T) {
	t.Parallel()
	c, to := newTestConfirmer(1)
	c.ch = shared(t).channel(t)
	require.NoError(t, c.ch.Close())
	c.confirmed(1, true, true)
	got, _ := to.heard()
	require.Empty(t, got)
	require.Len(t, c.flying, 1, "watch tells of it")
}

// TestConfirmer_Ended: a channel that has ended, whatever ended it, tells of all
// that are in flight, and takes no more, of which nobody would tell.
func TestConfirmer_Ended(t *testing.T) {
	t.Parallel()
	c, to := newTestConfirmer(2)
	c.p = &publisher{exchanges: newExchanges(nil)}
	c.conn = newTestFrameConn(nil)
	c.closed = make(chan *amqp.Error)
	close(c.closed)
	require.ErrorIs(t, c.watch(), errLost)
	got, failed := to.heard()
	require.Equal(t, []int{1, 2}, got)
	require.Equal(t, 2, failed)
	require.True(t, c.room.TryAcquire(roomBytes))
	require.False(t, c.send(&flight{out: &outgoing{}}))
}

// TestConfirmer_ReturnedOnce: a message that came back was not routed, and one of
// the same id that is sent again after that is another.
func TestConfirmer_ReturnedOnce(t *testing.T) {
	t.Parallel()
	c, to := newTestConfirmer(2)
	for _, f := range c.flying {
		f.out.Headers = amqp.Table{headerID: "m"}
	}
	returns := make(chan amqp.Return, 1)
	c.returns, c.returned = returns, make(map[place][]string)
	returns <- amqp.Return{ReplyText: "NO_ROUTE", Headers: amqp.Table{headerID: "m"}}
	c.confirmed(1, false, true)
	_, failed := to.heard()
	require.Equal(t, 1, failed)
	c.confirmed(2, false, true)
	got, failed := to.heard()
	require.Equal(t, []int{2}, got)
	require.Zero(t, failed)
}
