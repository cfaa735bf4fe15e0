package rabbitbroker

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

// T1 to T7 of the table of faults: what the published adapter gets wrong.

// TestT1_RedeliveryOnAQuorumQueue: after a message came back, with the queue's
// integer header x-delivery-count on it, the handler sees it again.
func TestT1_RedeliveryOnAQuorumQueue(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	f.mustPublish(sub.Topic, text("m", "x"))
	leave := func(msg *message.Message) bool { <-msg.Context().Done(); return false }
	for range 3 {
		c := f.consume(f.b, sub, leave)
		require.Equal(t, "m", c.first().UUID)
		require.NoError(t, c.sub.Close())
	}
	c := f.consume(f.b, sub, nil)
	require.Equal(t, "m", c.first().UUID)
	require.True(t, pipeline.OriginOf(c.first().Context()).Redelivered)
	c.drain()
	require.Equal(t, 1, c.count())
	require.Empty(t, comeBack(f, sub))
}

// TestT2_ForeignHeaders: a message with headers that are not text is handled
// once, not for ever.
func TestT2_ForeignHeaders(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", func(t *pipeline.Topic) { t.Rabbit.QueueType = "classic" }), pipeline.OrderingNone, 4)
	f.provision(sub)
	f.foreign(sub.Topic.Name, "any", amqp.Publishing{Headers: typedHeaders(), Body: []byte("x")})
	c := f.consume(f.b, sub, nil)
	require.Equal(t, "-7", c.first().Metadata.Get("int"))
	c.drain()
	require.Equal(t, 1, c.count())
	require.Empty(t, comeBack(f, sub))
}

// TestT3_Unroutable: what reaches no queue is an error for good, for exactly
// the messages that it happens to.
func TestT3_Unroutable(t *testing.T) {
	t.Parallel()
	f := setup(t)
	direct := f.topic("direct", func(t *pipeline.Topic) {
		t.Rabbit.ExchangeType, t.Rabbit.RoutingKey = "direct", ptr("orders")
	})
	f.provision()
	msgs := make([]*message.Message, 400)
	for i := range msgs {
		msgs[i] = text(fmt.Sprintf("m%d", i), "x")
		if i%40 == 7 {
			msgs[i].Metadata.Set(MetaRoutingKey, "nobody")
		}
	}
	for i, err := range f.publish(direct, msgs...) {
		if i%40 != 7 {
			require.NoError(t, err, i)
			continue
		}
		require.Equal(t, pipeline.ReasonUnroutable, pipeline.ReasonOf(err), "%d: %v", i, err)
		require.True(t, pipeline.IsPermanent(err))
		require.ErrorContains(t, err, "NO_ROUTE")
	}
	require.Equal(t, 390, f.ready(direct.Name))
}

// TestT3_NoExchange: an exchange that is not there costs nobody else a
// message, or the channel.
func TestT3_NoExchange(t *testing.T) {
	t.Parallel()
	f := setup(t)
	good := f.topic("good", nil)
	f.provision()
	bad := f.topic("bad", func(t *pipeline.Topic) { t.Provision = pipeline.ProvisionOff })
	stop, ended := make(chan struct{}), make(chan error, 1)
	go func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				ended <- nil
				return
			default:
			}
			if err := f.b.Publisher().Publish(good.Name, text(fmt.Sprint(i), "x")); err != nil {
				ended <- err
				return
			}
		}
	}()
	for range 20 {
		err := f.publish(bad, text("m", "x"))[0]
		require.Equal(t, pipeline.ReasonUnroutable, pipeline.ReasonOf(err), "%v", err)
		require.True(t, pipeline.IsPermanent(err))
	}
	close(stop)
	require.NoError(t, <-ended)
	require.NotContains(t, f.log.String(), "channel lost")
}

// TestT3_ExchangeDeletedUnderPublisher: the one who publishes to it gets the
// error, everybody else's messages are sent again. The channel is lost, and not
// its connection: nothing is sent on it once RabbitMQ has closed it.
func TestT3_ExchangeDeletedUnderPublisher(t *testing.T) {
	t.Parallel()
	f := setup(t)
	good, doomed := f.topic("good", nil), f.topic("doomed", nil)
	f.provision()
	f.mustPublish(doomed, text("m", "x"))
	var others sync.WaitGroup
	stop := make(chan struct{})
	for range 8 {
		others.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				if err := f.b.Publisher().Publish(good.Name, text(fmt.Sprint(i), "x")); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	for range 5 {
		require.NoError(t, f.ch.ExchangeDelete(doomed.Name, false, false))
		err := f.publish(doomed, text("m", "x"))[0]
		require.Equal(t, pipeline.ReasonUnroutable, pipeline.ReasonOf(err), "%v", err)
		f.provision()
		f.mustPublish(doomed, text("m", "x"))
	}
	close(stop)
	others.Wait()
	require.Contains(t, f.log.String(), "channel lost")
	require.NotContains(t, f.log.String(), "connection lost")
}

// TestT4_QueueDeletedUnderConsumer: no phantom message; the queue is made
// again and read.
func TestT4_QueueDeletedUnderConsumer(t *testing.T) {
	t.Parallel()
	t.Run("1-25 after the broker has cancelled the consumer, the queue is made again and read", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 4)
		f.provision(sub)
		c := f.consume(f.b, sub, nil)
		f.mustPublish(sub.Topic, text("a", "x"))
		c.first()
		_, err := f.ch.QueueDelete(sub.Name, false, false, false)
		require.NoError(t, err)
		f.eventually(func() bool { return f.publish(sub.Topic, text("b", "x"))[0] == nil }, "it is made again")
		f.eventually(func() bool { return c.count() >= 2 }, "it is read again")
		for _, msg := range c.all() {
			require.NotEmpty(t, msg.UUID)
			require.Equal(t, "x", string(msg.Payload))
		}
	})
}

// TestT4_QueueDeletedAndNotOurs: where the queue is not ours to make, health
// says so, nothing spins, and it is read once it is there again.
func TestT4_QueueDeletedAndNotOurs(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 4)
	f.provision(sub)
	sub.Topic.Provision = pipeline.ProvisionOff
	f.consume(f.b, sub, nil)
	f.eventually(func() bool {
		q, _ := f.ch.QueueDeclarePassive(sub.Name, true, false, false, false, nil)
		return q.Consumers == 1
	}, "it reads")
	_, err := f.ch.QueueDelete(sub.Name, false, false, false)
	require.NoError(t, err)
	f.eventually(func() bool { return len(f.b.Health().Incidents) == 1 }, "health says so")
	f.eventually(func() bool {
		incidents := f.b.Health().Incidents
		return len(incidents) == 1 && contains(incidents[0], sub.Name, "provision: create")
	}, "and what to do")
}

// TestT5_DrainUnderAHandler: the handler ends with a live context, and its
// message is not in the queue again.
func TestT5_DrainUnderAHandler(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	f.mustPublish(sub.Topic, text("m", "x"))
	finish := make(chan struct{})
	c := f.consume(f.b, sub, until(finish)) // acks only if its context lives
	c.first()
	drained := make(chan struct{})
	go func() { defer close(drained); c.drain() }()
	select {
	case <-drained:
		require.FailNow(t, "the drain did not wait")
	case <-time.After(300 * time.Millisecond):
	}
	close(finish)
	<-drained
	require.Empty(t, comeBack(f, sub))
}

// TestT6_MemoryAlarm: Publish keeps its deadline while the broker blocks,
// health says so at once, and consumers go on.
func TestT6_MemoryAlarm(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	f := setupOn(t, n.server)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 4)
	f.provision(sub)
	f.mustPublish(sub.Topic, text("before", "x"))
	n.run(t, "ctl", n.dir, "set_vm_memory_high_watermark", "0.00001")
	requireDeadlineKept(t, f, sub.Topic)
	f.eventually(func() bool { return f.b.Health().Blocked != "" }, "health says so")
	require.True(t, f.b.Health().Connected)
	require.False(t, f.b.Health().OK())
	c := f.consume(f.b, sub, nil)
	require.Equal(t, "before", c.first().UUID)
	n.run(t, "ctl", n.dir, "set_vm_memory_high_watermark", "0.8")
	f.eventually(func() bool { return f.b.Health().OK() }, "it is over")
	f.mustPublish(sub.Topic, text("after", "x"))
}

// TestT7_FrozenBroker: Publish keeps its deadline while the broker does not
// answer, whatever is in the way: a full socket, a thousand other callers, a
// channel that is being opened.
func TestT7_FrozenBroker(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	f := setupOn(t, n.server)
	topic := f.topic("in", nil)
	f.provision()
	f.mustPublish(topic, text("before", "x"))
	t.Cleanup(func() { brokertest.Thaw(n.pid()) }) // before brokers are closed
	brokertest.Freeze(t, n.pid())
	requireDeadlineKept(t, f, topic)
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	big := make([]byte, 4<<20)
	ended := make(chan struct{}, 20)
	for i := range 20 { // together more than what may be in flight
		go func() {
			msg := message.NewMessage(fmt.Sprint("big", i), big)
			msg.SetContext(ctx)
			_ = f.b.Publisher().Publish(topic.Name, msg)
			ended <- struct{}{}
		}()
	}
	late := time.After(held)
	for range 20 {
		select {
		case <-ended:
		case <-late:
			require.FailNow(t, "Publish is held beyond its deadline")
		}
	}
	other := f.open() // nothing is connected yet
	f.b = other
	requireDeadlineKept(t, f, topic)
	start := time.Now()
	require.NoError(t, other.Close())
	require.Less(t, time.Since(start), held, "Close of a frozen broker")
	brokertest.Thaw(n.pid())
}

// held is how long a call with a deadline of one second may take on a machine
// that has much to do. Without a deadline it lasts until the heartbeats are
// missed, which is longer.
const held = 15 * time.Second

// requireDeadlineKept publishes with a deadline of one second.
func requireDeadlineKept(t *testing.T, f *bundle, topic pipeline.Topic) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	msg := text("late", "x")
	msg.SetContext(ctx)
	ended := make(chan error, 1)
	go func() { ended <- f.b.Publisher().Publish(topic.Name, msg) }()
	var err error
	select {
	case err = <-ended:
	case <-time.After(held):
		require.FailNow(t, "Publish is held beyond its deadline")
	}
	require.Error(t, err)
	require.False(t, pipeline.IsPermanent(err))
	require.Contains(t, []pipeline.Reason{pipeline.ReasonTimeout, pipeline.ReasonUnavailable}, pipeline.ReasonOf(err), "%v", err)
}
