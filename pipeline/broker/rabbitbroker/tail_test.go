package rabbitbroker

import (
	"strconv"
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
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
				err := f.b.Tail(f.ctx(), topic, broker.TailOptions{Oldest: true}, func(msg *message.Message) error {
					require.Equal(t, want[seen], msg.UUID)
					if seen++; seen == tt.at {
						return tt.stop(f.b)
					}
					return nil
				})
				require.Equal(t, tt.at == all, err == nil, "%v", err)
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

// TestTail_OneConsumer: a queue that gives its messages to one consumer at a
// time shows what the first gets, and no look waits for the rest.
func TestTail_OneConsumer(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("single", func(t *pipeline.Topic) { t.Rabbit.Arguments = map[string]any{"x-single-active-consumer": true} })
	f.provision()
	for i := range peekFirst + 1 {
		f.mustPublish(topic, text(strconv.Itoa(i), "x"))
	}
	seen := 0
	err := f.b.Tail(f.ctx(), topic, broker.TailOptions{Oldest: true}, func(*message.Message) error { seen++; return nil })
	require.ErrorContains(t, err, "nothing came of its 1 messages for 10s")
	require.Equal(t, peekFirst, seen)
}

// TestTail_AutoDelete: a look would be the last reader of such a queue.
func TestTail_AutoDelete(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("passing", func(t *pipeline.Topic) { t.Provision = pipeline.ProvisionOff })
	_, err := f.ch.QueueDeclare(topic.Name, false, true, false, false, nil)
	require.NoError(t, err)
	f.foreign("", topic.Name, amqp.Publishing{Body: []byte("x")})
	err = f.b.Tail(f.ctx(), topic, broker.TailOptions{Oldest: true}, func(*message.Message) error { return nil })
	require.ErrorContains(t, err, "is deleted when its last reader goes")
	require.Equal(t, 1, f.ready(topic.Name))
}

// TestPeek_Size: the first consumer takes few, each next one twice as many, and
// none more than fits into memory or than a prefetch can say.
func TestPeek_Size(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		p    *peek
		want int
	}{
		"the first":           {&peek{left: 1000}, peekFirst},
		"fewer are left":      {&peek{left: 7}, 7},
		"the next":            {&peek{left: 1000, consumers: 1, share: 50, shown: 50, bytes: 50}, 100},
		"large ones":          {&peek{left: 1000, consumers: 3, share: 200, shown: 1, bytes: 1 << 20}, peekBytes >> 20},
		"larger than a share": {&peek{left: 1000, consumers: 3, share: 2, shown: 1, bytes: 2 * peekBytes}, 1},
		"empty ones":          {&peek{left: 1_000_000, consumers: 9, share: 60_000, shown: 100_000}, peekMost},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, tt.want, tt.p.size())
		})
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
