package rabbitbroker

import (
	"strconv"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// TestTail_WhyNot: a tail that would disturb is refused with the reason.
func TestTail_WhyNot(t *testing.T) {
	t.Parallel()
	f := setup(t)
	ordered := f.sub(f.topic("ordered", nil), pipeline.OrderingKey, 1)
	direct := f.topic("direct", func(t *pipeline.Topic) { t.Rabbit.Exchange, t.Rabbit.Queue = ptr(""), t.Name })
	f.provision(ordered)
	never := func(*message.Message) error { return nil }
	err := f.b.Tail(f.ctx(), ordered.Topic, broker.TailOptions{Oldest: true}, never)
	require.ErrorContains(t, err, "read in order")
	err = f.b.Tail(f.ctx(), direct, broker.TailOptions{}, never)
	require.ErrorContains(t, err, "straight to queue")
	f.mustPublish(direct, text("m", "x"))
	var seen []string
	require.NoError(t, f.b.Tail(f.ctx(), direct, broker.TailOptions{Oldest: true}, func(msg *message.Message) error {
		seen = append(seen, msg.UUID)
		return nil
	}))
	require.Equal(t, []string{"m"}, seen)
}

// TestTail_OldestThenNew: nothing is missed or shown twice in between.
func TestTail_OldestThenNew(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("kept", nil)
	f.provision()
	f.mustPublish(topic, text("a", "x"), text("b", "x"))
	var seen []string
	err := f.b.Tail(f.ctx(), topic, broker.TailOptions{
		Oldest: true, Follow: true,
		Ready: func() { f.mustPublish(topic, text("c", "x")) },
	}, func(msg *message.Message) error {
		seen = append(seen, msg.UUID)
		if msg.UUID == "c" {
			f.mustPublish(topic, text("d", "x"))
		}
		if msg.UUID == "d" {
			return errStop
		}
		return nil
	})
	require.ErrorIs(t, err, errStop)
	require.Equal(t, []string{"a", "b", "c", "d"}, seen)
	f.eventually(func() bool { return f.ready(topic.Name) == 4 }, "all go back")
}

// TestTail_LeavesTheOrder: what was looked at waits as before, in order,
// wherever the looking stopped, and however.
func TestTail_LeavesTheOrder(t *testing.T) {
	t.Parallel()
	const all = 1000
	stops := map[string]struct {
		at   int
		stop func(*Broker) error
	}{
		"at the first":    {1, func(*Broker) error { return errStop }},
		"on the way":      {333, func(*Broker) error { return errStop }},
		"at the end":      {all, func(*Broker) error { return nil }},
		"connection lost": {333, func(b *Broker) error { return b.consume.now().conn.Close() }},
	}
	for _, queue := range []string{"classic", "quorum"} {
		for name, tt := range stops {
			t.Run(queue+", "+name, func(t *testing.T) {
				t.Parallel()
				f := setup(t)
				topic, want := f.filled(queue, all)
				seen := 0
				_ = f.b.Tail(f.ctx(), topic, broker.TailOptions{Oldest: true}, func(msg *message.Message) error {
					require.Equal(t, want[seen], msg.UUID)
					if seen++; seen == tt.at {
						return tt.stop(f.b)
					}
					return nil
				})
				require.GreaterOrEqual(t, seen, tt.at)
				f.eventually(func() bool { return f.ready(topic.Name) == all }, "all go back")
				var left []string
				for range all {
					d, ok, err := f.ch.Get(topic.Name, true)
					require.NoError(t, err)
					require.True(t, ok)
					left = append(left, d.MessageId)
				}
				require.Equal(t, want, left)
			})
		}
	}
}

// TestTail_EndsWithTheQueue: that messages go meanwhile is no reason to wait
// for them.
func TestTail_EndsWithTheQueue(t *testing.T) {
	t.Parallel()
	for _, queue := range []string{"classic", "quorum"} {
		t.Run(queue, func(t *testing.T) {
			t.Parallel()
			f := setup(t)
			topic, _ := f.filled(queue, 1000)
			seen := 0
			require.NoError(t, f.b.Tail(f.ctx(), topic, broker.TailOptions{Oldest: true}, func(*message.Message) error {
				if seen++; seen > 1 {
					return nil
				}
				_, err := f.ch.QueuePurge(topic.Name, false)
				return err
			}))
			require.Equal(t, peekFirst, seen, "what was held already")
		})
	}
}

// TestPeek_Shares: the consumers of a peek reach to the end of a long queue,
// and the first takes few.
func TestPeek_Shares(t *testing.T) {
	t.Parallel()
	for _, waiting := range []int{1, peekFirst, peekFirst + 1, 1000, 100_000, peekFirst + (peekShares-1)*peekMost} {
		p := &peek{left: waiting}
		require.LessOrEqual(t, p.size(), peekFirst)
		for ; p.left > 0; p.consumers++ {
			n := p.size()
			require.Positive(t, n)
			require.LessOrEqual(t, n, peekMost)
			p.left -= n
		}
		require.LessOrEqual(t, p.consumers, peekShares, waiting)
	}
}

// filled makes a topic that nobody reads with n messages, and returns their ids.
func (f *bundle) filled(queue string, n int) (pipeline.Topic, []string) {
	f.Helper()
	topic := f.topic("kept", func(t *pipeline.Topic) { t.Rabbit.QueueType = queue })
	f.provision()
	ids, msgs := make([]string, n), make([]*message.Message, n)
	for i := range n {
		ids[i] = strconv.Itoa(i)
		msgs[i] = text(ids[i], "x")
	}
	f.mustPublish(topic, msgs...)
	return topic, ids
}
