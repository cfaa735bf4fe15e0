package rabbitbroker

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// TestRestart: RabbitMQ is killed under load three times. Nothing that was
// confirmed is lost, and it is read again within 5 s of the port opening.
func TestRestart(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	f := setupOn(t, n.server)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 16)
	f.provision(sub)
	var mu sync.Mutex
	handled := make(map[string]int)
	var newest time.Time
	f.consume(f.b, sub, func(msg *message.Message) bool {
		mu.Lock()
		defer mu.Unlock()
		handled[msg.UUID]++
		newest = time.Now()
		return true
	})
	confirmed, stop := make(map[string]bool), make(chan struct{})
	var publishers sync.WaitGroup
	for p := range 8 {
		publishers.Go(func() {
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				id := fmt.Sprintf("%d-%d", p, i)
				if f.b.Publisher().Publish(sub.Topic.Name, text(id, "x")) == nil { // waits for the broker
					mu.Lock()
					confirmed[id] = true
					mu.Unlock()
				}
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(handled) }
	f.eventually(func() bool { return count() > 500 }, "there is load")
	time.Sleep(time.Second) //nolint:forbidigo // see newNode: 3.10 forgets a quorum queue that is younger
	var repeats int
	for range 3 {
		n.kill(t)
		opened := make(chan time.Time, 1)
		go func() { opened <- portOpens(f.b.Health().Address) }()
		n.start(t)
		at := <-opened
		f.eventually(func() bool { mu.Lock(); defer mu.Unlock(); return newest.After(at) }, "it is read again")
		mu.Lock()
		took := newest.Sub(at)
		mu.Unlock()
		t.Logf("read again %v after the port opened", took.Round(time.Millisecond))
		before := count()
		f.eventually(func() bool { return count() > before+300 }, "there is load again")
	}
	close(stop)
	publishers.Wait()
	f.eventually(func() bool {
		mu.Lock()
		defer mu.Unlock()
		for id := range confirmed {
			if handled[id] == 0 {
				return false
			}
		}
		return true
	}, "all that was confirmed is handled")
	for _, times := range handled {
		repeats += times - 1
	}
	t.Logf("%d confirmed, %d handled, %d repeats", len(confirmed), len(handled), repeats)
}

// portOpens waits until host:port takes connections.
func portOpens(host string) time.Time {
	for {
		conn, err := net.Dial("tcp", host)
		if err == nil {
			_ = conn.Close()
			return time.Now()
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the pace of a load
	}
}

// TestBarrier: 256 messages are acked singly just before the channel closes,
// on every sort of queue, and none comes back.
func TestBarrier(t *testing.T) {
	t.Parallel()
	const total = 256
	for name, ordering := range map[string]pipeline.Ordering{
		"Shared": pipeline.OrderingNone, "SingleActiveConsumer": pipeline.OrderingKey,
	} {
		for _, queueType := range []string{"quorum", "classic"} {
			t.Run(name+"/"+queueType, func(t *testing.T) {
				t.Parallel()
				f := setup(t)
				sub := f.sub(f.topic("in", func(t *pipeline.Topic) { t.Rabbit.QueueType = queueType }), ordering, total)
				f.provision(sub)
				for round := range 5 {
					msgs := make([]*message.Message, total)
					for i := range msgs {
						msgs[i] = text(fmt.Sprintf("%d-%d", round, i), "x")
						msgs[i].Metadata.Set(pipeline.MetaPartitionKey, fmt.Sprint(i))
					}
					f.mustPublish(sub.Topic, msgs...)
					b, gate := f.open(), make(chan struct{})
					c := f.consume(b, sub, until(gate))
					f.eventually(func() bool { return c.count() == total }, "all run")
					drained := make(chan struct{})
					go func() { defer close(drained); c.drain() }()
					close(gate)
					<-drained
					require.NoError(t, b.Close())
					require.Empty(t, comeBack(f, sub), "messages that came back")
				}
			})
		}
	}
}

// TestBarrier_Singles: when the time is up, half of the messages are done, each
// between two that are not. So they are acked one by one, right before the
// channel closes: those, and only those, do not come back.
func TestBarrier_Singles(t *testing.T) {
	t.Parallel()
	const total = 256
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, total)
	f.provision(sub)
	for round := range 5 {
		var want []string
		msgs := make([]*message.Message, total)
		for i := range msgs {
			msgs[i] = text(fmt.Sprintf("%d-%d", round, i), "x")
			if i%2 == 1 {
				msgs[i].Metadata.Set("stuck", "yes")
				want = append(want, msgs[i].UUID)
			}
		}
		f.mustPublish(sub.Topic, msgs...)
		b, gate := f.open(), make(chan struct{})
		var finished sync.WaitGroup
		finished.Add(total / 2)
		c := f.consume(b, sub, func(msg *message.Message) bool {
			if msg.Metadata.Get("stuck") != "" {
				<-msg.Context().Done()
				return false
			}
			defer finished.Done()
			return until(gate)(msg)
		})
		f.eventually(func() bool { return c.count() == total }, "all run")
		ctx, timeIsUp := context.WithCancel(context.Background())
		drained := make(chan error, 1)
		go func() { drained <- c.sub.Drain(ctx) }()
		close(gate)
		finished.Wait()
		f.eventually(func() bool { return c.sub.InFlight() == total/2 }, "half are done")
		timeIsUp()
		require.Error(t, <-drained)
		<-c.done
		require.NoError(t, b.Close())
		require.Equal(t, want, comeBack(f, sub), "messages that came back, in order")
	}
}

// TestAck_SlowHead: what is done behind a slow message is acked while it runs,
// and acking it in the end does not name a tag a second time.
func TestAck_SlowHead(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 8)
	f.provision(sub)
	head := make(chan struct{})
	c := f.consume(f.b, sub, func(msg *message.Message) bool { return msg.UUID != "0" || until(head)(msg) })
	for i := range 200 {
		f.mustPublish(sub.Topic, text(fmt.Sprint(i), "x"))
	}
	f.eventually(func() bool { return c.count() == 200 }, "the others pass")
	f.eventually(func() bool { return unacked(f, sub) == 1 }, "and are acked")
	close(head)
	f.eventually(func() bool { return unacked(f, sub) == 0 }, "the head too")
	f.mustPublish(sub.Topic, text("200", "x"))
	f.eventually(func() bool { return c.count() == 201 }, "it goes on")
	c.drain()
	require.Equal(t, 201, c.count(), "once each")
	require.NotContains(t, f.log.String(), "cannot read", "the channel was closed")
}

// comeBack lists what the queue hands out, until it hands out what is
// published now.
func comeBack(f *bundle, sub broker.Subscription) []string {
	f.Helper()
	deliveries, err := f.ch.Consume(sub.Name, "again", true, false, false, false, nil)
	require.NoError(f, err)
	f.mustPublish(sub.Topic, text("last", "x"))
	var ids []string
	for d := range deliveries {
		if d.MessageId == "last" {
			break
		}
		ids = append(ids, d.MessageId)
	}
	require.NoError(f, f.ch.Cancel("again", false))
	return ids
}

// TestBarrier_NoTakeover: while a drain waits for a handler, nobody else gets
// messages of a queue that is read in order; then at once.
func TestBarrier_NoTakeover(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingKey, 1)
	f.provision(sub)
	f.mustPublish(sub.Topic, keyed("a"), keyed("b"))
	finish := make(chan struct{})
	one := f.consume(f.open(), sub, until(finish))
	one.first()
	two := f.consume(f.open(), sub, nil)
	drained := make(chan struct{})
	go func() { defer close(drained); one.drain() }()
	require.Never(t, func() bool { return two.count() > 0 }, 300*time.Millisecond, 10*time.Millisecond, "a takeover")
	close(finish)
	<-drained
	require.Equal(t, "b", two.first().UUID)
	require.Equal(t, 1, one.count())
}

func keyed(id string) *message.Message {
	msg := text(id, "x")
	msg.Metadata.Set(pipeline.MetaPartitionKey, "k")
	return msg
}

// TestBarrier_AutoDelete: a foreign auto-delete queue is there until the
// channel closes.
func TestBarrier_AutoDelete(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("in", func(t *pipeline.Topic) {
		t.Provision = pipeline.ProvisionOff
		t.Rabbit.Exchange, t.Rabbit.Queue = ptr(""), t.Name
	})
	_, err := f.ch.QueueDeclare(topic.Name, true, true, false, false, nil)
	require.NoError(t, err)
	sub := f.sub(topic, pipeline.OrderingNone, 8)
	f.foreign("", topic.Name, amqp.Publishing{Body: []byte("x")})
	c := f.consume(f.b, sub, nil)
	c.first()
	c.drain()
	require.NotContains(t, f.log.String(), "may be handed out again")
}

// TestConnectionLost: a connection that breaks under a handler is made again,
// and what was not acked comes again.
func TestConnectionLost(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 2)
	f.provision(sub)
	f.mustPublish(sub.Topic, text("a", "x"), text("b", "x"))
	var once sync.Once
	c := f.consume(f.b, sub, func(msg *message.Message) bool {
		once.Do(func() { breakConnection(t, f) })
		return true
	})
	f.eventually(func() bool { return c.count() >= 3 }, "it comes again")
	f.mustPublish(sub.Topic, text("c", "x")) // behind all that came back
	f.eventually(func() bool { all := c.all(); return all[len(all)-1].UUID == "c" }, "it goes on")
	c.drain()
	require.Empty(t, comeBack(f, sub))
}

// breakConnection breaks the connection that reads, as a network would.
func breakConnection(t *testing.T, f *bundle) {
	conn, err := f.b.consume.connection(context.Background())
	require.NoError(t, err)
	require.NoError(t, conn.Close())
}

// TestInspect_LeaderAway: of a quorum queue whose leader does not answer
// RabbitMQ says that it is empty and nobody reads it. Who drains it must not
// believe that.
func TestInspect_LeaderAway(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	f := setupOn(t, n.server)
	for name, ordering := range map[string]pipeline.Ordering{"shared": pipeline.OrderingNone, "in turns": pipeline.OrderingKey} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sub := f.sub(f.topic("in"+string(ordering), nil), ordering, 1)
			f.provision(sub)
			inspect := func(timeout time.Duration) (broker.Status, error) {
				ctx, cancel := context.WithTimeout(t.Context(), timeout)
				defer cancel()
				rows, err := f.b.Inspect(ctx, nil, []broker.Subscription{sub})
				if err != nil {
					return broker.Status{}, err
				}
				return rows[0], nil
			}
			row, err := inspect(time.Minute)
			require.NoError(t, err)
			require.Zero(t, row.Ready)
			f.mustPublish(sub.Topic, text("1", "x"), text("2", "x"))

			leader := fmt.Sprintf("whereis('%%2F_%s')", sub.Name)
			require.Contains(t, n.out(t, "ctl", n.dir, "eval", leader+"."), "<")
			n.run(t, "ctl", n.dir, "eval", "sys:suspend("+leader+").")
			row, err = inspect(3 * time.Second)
			require.Error(t, err, "%+v", row)
			require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
			n.run(t, "ctl", n.dir, "eval", "sys:resume("+leader+").")
			f.eventually(func() bool { row, err := inspect(time.Minute); return err == nil && row.Ready == 2 }, "it is counted again")
		})
	}
}
