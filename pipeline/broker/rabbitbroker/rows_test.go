package rabbitbroker

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// TestRows shows the rows of docs/behaviours.md that are this driver's.
func TestRows(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"0-01 incoming settings":                       row001,
		"0-02 outgoing settings":                       row002,
		"0-05 routing key of one message":              row005,
		"0-07 what is declared by default":             row007,
		"2-03 the queue is made at start":              row203,
		"2-04 exchange, type and key are settings":     row204,
		"2-09 ack after processing, prefetch":          row209,
		"2-10 ready and unacked return to 0":           row210,
		"2-11 connection and consumer are listed":      row211,
		"2-13 instances share the queue":               row213,
		"2-17 refused connection and bad credentials":  row217,
		"2-18 retries the connection, hands out again": row218,
		"2-19 fed by hand through the queue":           row219,
		"2-30 the broker's answers in one report":      row230,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// row001: QUEUE_NAME, bound to EXCHANGE of EXCHANGE_TYPE with ROUTING_KEY, is
// what is consumed, on HOST:PORT/VHOST as USER.
func row001(t *testing.T) {
	f := setup(t)
	topic := f.topic("in", func(t *pipeline.Topic) {
		t.Rabbit = pipeline.RabbitTopic{
			Exchange: ptr(t.Name + "-exchange"), ExchangeType: "direct", Queue: t.Name + "-queue", RoutingKey: ptr("orders"),
		}
	})
	sub := f.sub(topic, pipeline.OrderingNone, 1)
	f.provision(sub)
	f.foreign(topic.Name+"-exchange", "orders", amqp.Publishing{Body: []byte("by exchange")})
	f.foreign("", topic.Name+"-queue", amqp.Publishing{Body: []byte("by queue")})
	c := f.consume(f.b, sub, nil)
	f.eventually(func() bool { return c.count() == 2 }, "both ways lead to the queue")
	u, err := url.Parse(f.url)
	require.NoError(t, err)
	require.Equal(t, u.Host, f.b.Health().Address)
	require.Equal(t, u.User.Username(), f.b.Health().User)
}

// row002: an order goes to EXCHANGE with ROUTING_KEY.
func row002(t *testing.T) {
	f := setup(t)
	topic := f.topic("out", func(t *pipeline.Topic) {
		t.Rabbit = pipeline.RabbitTopic{Exchange: ptr(t.Name + "-exchange"), ExchangeType: "direct", RoutingKey: ptr("prepared")}
	})
	f.provision()
	f.mustPublish(topic, text("m", "x"))
	d := f.take(topic.Name)
	require.Equal(t, topic.Name+"-exchange", d.Exchange)
	require.Equal(t, "prepared", d.RoutingKey)
}

// row005: a message may name its routing key; the default is the topic's.
func row005(t *testing.T) {
	f := setup(t)
	topic := f.topic("out", func(t *pipeline.Topic) { t.Rabbit.RoutingKey = ptr("orders.eu") })
	tap := f.topic("tap", func(t *pipeline.Topic) { t.Rabbit.Exchange, t.Rabbit.RoutingKey = ptr(topic.Name), ptr("orders.us") })
	f.provision()
	special := text("b", "x")
	special.Metadata.Set(MetaRoutingKey, "orders.us")
	f.mustPublish(topic, text("a", "x"), special)
	d := f.take(topic.Name)
	require.Equal(t, []string{"a", "orders.eu"}, []string{d.MessageId, d.RoutingKey})
	d = f.take(tap.Name)
	require.Equal(t, []string{"b", "orders.us"}, []string{d.MessageId, d.RoutingKey})
	require.NotContains(t, d.Headers, MetaRoutingKey)
}

// row007: durable, not auto-delete, not exclusive; persistent; manual ack.
// The exchange's type is topic here and not direct: design §3.
func row007(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	require.NoError(t, f.ch.ExchangeDeclare(sub.Topic.Name, "topic", true, false, false, false, nil))
	_, err := f.ch.QueueDeclare(sub.Name, true, false, false, false,
		amqp.Table{"x-queue-type": "quorum", "x-delivery-limit": int64(1_000_000)})
	require.NoError(t, err)
	f.mustPublish(sub.Topic, text("m", "x"))
	require.Equal(t, amqp.Persistent, f.take(sub.Name).DeliveryMode)
}

// row203: a classic queue is declared durable, not auto-delete, without
// arguments.
func row203(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", func(t *pipeline.Topic) {
		t.Rabbit = pipeline.RabbitTopic{Exchange: ptr(""), Queue: t.Name + "-processing", QueueType: "classic"}
	}), pipeline.OrderingNone, 1)
	f.consume(f.b, sub, nil) // as at start: nobody provisioned
	f.eventually(func() bool {
		conn, err := amqp.Dial(f.url)
		require.NoError(t, err)
		defer func() { _ = conn.Close() }()
		ch, err := conn.Channel()
		require.NoError(t, err)
		_, err = ch.QueueDeclarePassive(sub.Topic.Name+"-processing", true, false, false, false, nil)
		return err == nil
	}, "the queue is there")
	_, err := f.ch.QueueDeclare(sub.Topic.Name+"-processing", true, false, false, false, nil)
	require.NoError(t, err, "the same, declared by somebody else")
}

// row204: exchange, type and key are settings, and the consumer makes the
// binding itself.
func row204(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", func(t *pipeline.Topic) {
		t.Rabbit = pipeline.RabbitTopic{Exchange: ptr(t.Name + "-cloudkart"), ExchangeType: "direct", RoutingKey: ptr("orders")}
	}), pipeline.OrderingNone, 1)
	c := f.consume(f.b, sub, nil)
	f.eventually(func() bool {
		status, err := f.b.Inspect(f.ctx(), nil, []broker.Subscription{sub})
		return err == nil && status[0].Consumers == 1
	}, "it is bound and read")
	f.foreign(sub.Topic.Name+"-cloudkart", "orders", amqp.Publishing{Body: []byte("order")})
	require.Equal(t, "order", string(c.first().Payload))
}

// row209: no more than the prefetch is handed out, and acked only once it was
// processed.
func row209(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	f.mustPublish(sub.Topic, text("a", "1"), text("b", "2"), text("c", "3"))
	finish := make(chan struct{})
	c := f.consume(f.b, sub, until(finish))
	c.first()
	require.Equal(t, 2, f.ready(sub.Name), "prefetch 1: the others wait in the queue")
	f.eventually(func() bool { return unacked(f, sub) == 1 }, "one is unacked while it runs")
	close(finish)
	f.eventually(func() bool { return unacked(f, sub) == 0 && f.ready(sub.Name) == 0 }, "all are acked")
}

func unacked(f *bundle, sub broker.Subscription) int64 {
	status, err := f.b.Inspect(f.ctx(), nil, []broker.Subscription{sub})
	require.NoError(f, err)
	return status[0].InFlight
}

// row210: once an order is processed, ready and unacked are 0.
func row210(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 4)
	f.provision(sub)
	for i := range 20 {
		f.mustPublish(sub.Topic, text(fmt.Sprint(i), "x"))
	}
	f.eventually(func() bool { return f.ready(sub.Name) == 20 }, "20 wait")
	c := f.consume(f.b, sub, nil)
	f.eventually(func() bool { return c.count() == 20 }, "all are processed")
	f.eventually(func() bool { return unacked(f, sub) == 0 && f.ready(sub.Name) == 0 }, "0 and 0")
}

// row211: the broker lists one connection of the user's, and one consumer.
func row211(t *testing.T) {
	s := shared(t)
	user := newUser(t, s)
	f := setupOn(t, user)
	_ = f.ch.Close()
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	f.consume(f.b, sub, nil)
	f.eventually(func() bool {
		status, err := f.b.Inspect(f.ctx(), nil, []broker.Subscription{sub})
		return err == nil && status[0].Consumers == 1
	}, "1 consumer")
	name := strings.SplitN(strings.TrimPrefix(user.url, "amqp://"), ":", 2)[0]
	f.eventually(func() bool {
		waybill := 0
		for _, c := range connections(t, s) {
			if c.User == name && strings.HasPrefix(c.Properties.Name, "waybill ") {
				waybill++
			}
		}
		return waybill == 1
	}, "1 connection")
}

// row213: three instances share one queue; each order is handled by one.
func row213(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 2)
	f.provision(sub)
	var mu sync.Mutex
	runs := make(map[string]int)
	handled := func(msg *message.Message) bool {
		mu.Lock()
		defer mu.Unlock()
		runs[msg.UUID]++
		return true
	}
	var instances []*consumed
	for range 3 {
		instances = append(instances, f.consume(f.open(), sub, handled))
	}
	f.eventually(func() bool {
		status, err := f.b.Inspect(f.ctx(), nil, []broker.Subscription{sub})
		return err == nil && status[0].Consumers == 3
	}, "three read it")
	const total = 300
	for i := range total {
		f.mustPublish(sub.Topic, text(fmt.Sprint(i), "x"))
	}
	f.eventually(func() bool { mu.Lock(); defer mu.Unlock(); return len(runs) == total }, "all are handled")
	for _, c := range instances {
		c.drain()
		require.NotZero(t, c.count(), "each has its share")
	}
	for id, n := range runs {
		require.Equal(t, 1, n, id)
	}
}

// row217: the log says what is wrong, and never the password.
func row217(t *testing.T) {
	s := shared(t)
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	for name, test := range map[string]struct{ url, says string }{
		"refused":     {"amqp://guest:s3cret@127.0.0.1:1/", "connection refused"},
		"credentials": {"amqp://somebody:s3cret@" + u.Host + "/", "Access refused for user 'somebody'"},
		"vhost":       {fmt.Sprintf("amqp://%s@%s/nowhere", u.User, u.Host), "vhost"},
	} {
		log := &logBuffer{}
		cfg := s.config()
		cfg.URL = pipeline.Secret(test.url)
		b := openLogged(t, cfg, log)
		require.Eventually(t, func() bool { return strings.Contains(log.String(), test.says) }, patience, 10*time.Millisecond, name)
		require.Contains(t, log.String(), "level=ERROR", name)
		require.NotContains(t, log.String(), "s3cret", name)
		h := b.Health()
		require.False(t, h.Connected)
		require.ErrorContains(t, h.Err, h.Address)
		require.ErrorContains(t, h.Err, h.User)
		ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
		defer cancel()
		msg := text("m", "x")
		msg.SetContext(ctx)
		err := b.Publisher().Publish("t", msg)
		require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err), "%v", err)
		require.ErrorContains(t, err, test.says)
		require.NoError(t, b.Close())
	}
}

// row218: the connection is made again, and what was not finished is handed
// out again.
func row218(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	f.mustPublish(sub.Topic, text("m", "x"))
	release := make(chan struct{})
	c := f.consume(f.b, sub, until(release))
	c.first()
	conn, err := f.b.consume.connection(f.ctx())
	require.NoError(t, err)
	require.NoError(t, conn.Close()) // under the consumer
	close(release)
	f.eventually(func() bool { return c.count() == 2 }, "it is handed out again")
	require.Equal(t, "m", c.all()[1].UUID)
	require.True(t, pipeline.OriginOf(c.all()[1].Context()).Redelivered)
	c.drain()
	require.Empty(t, comeBack(f, sub))
}

// row219: raw JSON, published to the queue through the default exchange
// without any header, is processed.
func row219(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", func(t *pipeline.Topic) {
		t.Rabbit.Exchange, t.Rabbit.Queue = ptr(""), t.Name+"-processing"
	}), pipeline.OrderingNone, 1)
	f.provision(sub)
	f.foreign("", sub.Topic.Name+"-processing", amqp.Publishing{Body: []byte(`{"orderId": "1"}`)})
	c := f.consume(f.b, sub, nil)
	require.Equal(t, `{"orderId": "1"}`, string(c.first().Payload))
	require.Equal(t, pipeline.IDSourceContent, c.first().Metadata.Get(pipeline.MetaIDSource))
	c.drain()
	f.mustPublish(sub.Topic, text("ours", "{}")) // and what we publish goes there too
	d := f.take(sub.Topic.Name + "-processing")
	require.Empty(t, d.Exchange)
	require.Equal(t, "ours", d.MessageId)
}

// row230: queues, messages, consumers and bindings are in one report.
func row230(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	lonely := f.topic("lonely", nil)
	f.provision(sub)
	f.mustPublish(sub.Topic, text("a", "x"), text("b", "x"))
	f.mustPublish(lonely, text("c", "x"))
	f.eventually(func() bool {
		rows, err := f.b.Inspect(f.ctx(), f.all(), []broker.Subscription{sub})
		require.NoError(t, err)
		require.Len(t, rows, 2)
		return rows[0].Name == sub.Name && rows[0].Ready == 2 && rows[0].InFlight == 0 && rows[0].Consumers == 0 &&
			contains(strings.Join(rows[0].Bindings, "\n"), "exchange "+sub.Topic.Name+`, key "#"`) && len(rows[0].Problems) == 0 &&
			rows[1].Name == lonely.Name && rows[1].Ready == 1
	}, "all of it is told")
	_, err := f.ch.QueueDelete(sub.Name, false, false, false)
	require.NoError(t, err)
	rows, err := f.b.Inspect(f.ctx(), nil, []broker.Subscription{sub})
	require.NoError(t, err)
	require.Contains(t, strings.Join(rows[0].Problems, "\n"), "queue "+sub.Name)
}
