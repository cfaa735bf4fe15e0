package rabbitbroker

import (
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// TestRows_Tasks shows the rows of §1, task consumers, that are this driver's.
func TestRows_Tasks(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]func(*testing.T){
		"1-01 a consumer reads its own queue, and waits for no other":            row101,
		"1-02 exchange, queue and binding as the original laid them out":         row102,
		"1-03 connected, declared, bound, and only then reading":                 row103,
		"1-04 so many are handed out ahead as the setting says":                  row104,
		"1-06 a message is acknowledged only after its handler is done":          row106,
		"1-23 a connection that breaks is made again":                            row123,
		"1-24 a channel that RabbitMQ closes is opened again, and said":          row124,
		"1-26 a stop cancels the consumer and closes channel and connection":     row126,
		"1-27 after Close there is no connection, and none is made":              row127,
		"1-33 a queue of the original's, with its arguments, is declared":        row133,
		"1-61 what a lost instance had in hand comes again, what waits does not": row161,
		"1-W4 messages, queues and exchanges outlive the broker":                 row1W4,
		"1-W14 a password of any characters logs in, and is not in the log":      row1W14,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test(t)
		})
	}
}

// carrot is the original's layout: an exchange of the queue's name, of type
// direct, bound with that name.
func carrot(t *pipeline.Topic) {
	t.Rabbit = pipeline.RabbitTopic{
		Exchange: ptr(t.Name), ExchangeType: "direct", Queue: t.Name, QueueType: "classic", RoutingKey: ptr(t.Name),
		Arguments: map[string]any{"x-max-priority": 255},
	}
}

// row101: one that is stuck keeps nobody else, and neither gets the other's
// messages.
func row101(t *testing.T) {
	f := setup(t)
	stuck := f.sub(f.topic("stuck", nil), pipeline.OrderingNone, 1)
	other := f.sub(f.topic("other", nil), pipeline.OrderingNone, 1)
	f.provision(stuck, other)
	f.mustPublish(stuck.Topic, text("s1", "x"), text("s2", "x"))
	f.mustPublish(other.Topic, text("o1", "x"), text("o2", "x"))
	finish := make(chan struct{})
	one, two := f.consume(f.b, stuck, until(finish)), f.consume(f.b, other, nil)
	one.first()
	f.eventually(func() bool { return two.count() == 2 }, "the other is done")
	require.Equal(t, 1, one.count())
	close(finish)
	f.eventually(func() bool { return one.count() == 2 }, "so is this")
	require.Equal(t, []string{"s1", "s2", "o1", "o2"}, ids(append(one.all(), two.all()...)))
}

func ids(msgs []*message.Message) (all []string) {
	for _, msg := range msgs {
		all = append(all, msg.UUID)
	}
	return all
}

// row102: with nothing there, all of it is made by the consumer, and a message
// for the exchange is read.
func row102(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("tasks", carrot), pipeline.OrderingNone, 1)
	c := f.consume(f.b, sub, nil) // nobody has provisioned
	name := sub.Topic.Name
	f.eventually(func() bool { return consumers(f, name) == 1 }, "it reads")
	var e struct {
		Type    string `json:"type"`
		Durable bool   `json:"durable"`
	}
	f.api(t, http.MethodGet, "exchanges/%2F/"+url.PathEscape(name), nil, &e)
	require.Equal(t, "direct", e.Type)
	require.True(t, e.Durable, "not as the original's, which was lost with a restart")
	f.foreign(name, name, amqp.Publishing{MessageId: "task-1", Body: []byte(`{"args": [1]}`)})
	require.Equal(t, "task-1", c.first().UUID)
}

// consumers counts who reads a queue; 0 also where there is none.
func consumers(f *bundle, queue string) int {
	conn, err := amqp.Dial(f.url)
	require.NoError(f, err)
	defer func() { _ = conn.Close() }()
	ch, err := conn.Channel()
	require.NoError(f, err)
	q, _ := ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	return q.Consumers
}

// row103: each step is in the log, at level debug beyond the connection.
func row103(t *testing.T) {
	f := setup(t)
	log := &logBuffer{}
	b, err := Open(f.config(), broker.Options{
		Instance: f.prefix, Topic: f.lookup, Log: slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	require.NoError(t, err)
	t.Cleanup(func() { _ = b.Close() })
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	c := f.consume(b.(*Broker), sub, nil)
	f.eventually(func() bool { return strings.Contains(log.String(), "reading the queue") }, "it reads")
	f.mustPublish(sub.Topic, text("m", "x"))
	c.first()
	at := -1
	for _, step := range []string{"connected to RabbitMQ", "msg=declared", "reading the queue"} {
		next := strings.Index(log.String(), step)
		require.Greater(t, next, at, "%s\n%s", step, log)
		at = next
	}
	require.Contains(t, log.String(), "exchanges=1 queues=1 bindings=1")
	require.Contains(t, log.String(), "queue="+sub.Name)
}

// row104: the others stay in the queue, for whoever is free. Zero, which means
// without a limit, is not sent.
func row104(t *testing.T) {
	for _, ahead := range []int{0, 1, 5} {
		f := setup(t)
		sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
		sub.InFlight = ahead
		f.provision(sub)
		for range 20 {
			f.mustPublish(sub.Topic, text("m", "x"))
		}
		c := f.consume(f.b, sub, until(nil))
		c.first()
		f.eventually(func() bool { return f.ready(sub.Name) <= 20-max(ahead, 1) }, "so many are handed out")
		require.Never(t, func() bool { return f.ready(sub.Name) < 20-max(ahead, 1) }, 50*time.Millisecond, 5*time.Millisecond, "and no more")
	}
}

// row106: a long task stays with its handler, though another is ready for it.
// It was not acknowledged, since the other gets it when the first is lost. The
// original acknowledged before the task began.
func row106(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 4)
	f.provision(sub)
	f.mustPublish(sub.Topic, text("long", "x"))
	first := f.open()
	f.consume(first, sub, until(nil)).first()
	finish := make(chan struct{})
	other := f.consume(f.open(), sub, until(finish))
	f.eventually(func() bool { return consumers(f, sub.Name) == 2 }, "another is ready for it")
	require.Zero(t, other.count())
	require.Zero(t, f.ready(sub.Name))
	require.NoError(t, first.Close())
	require.Equal(t, "long", other.first().UUID)
	close(finish)
	other.drain()
	require.Empty(t, comeBack(f, sub), "now it is acknowledged")
}

// row123: the log says so, and what is published later is read.
func row123(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	c := f.consume(f.b, sub, nil)
	f.mustPublish(sub.Topic, text("before", "x"))
	c.first()
	begun := time.Now()
	breakConnection(t, f)
	f.eventually(func() bool { return strings.Contains(f.log.String(), "connection lost") }, "the log says so")
	f.eventually(func() bool { return f.b.Health().OK() && f.b.Health().Since.After(begun) }, "it is there again")
	f.mustPublish(sub.Topic, text("after", "x"))
	f.eventually(func() bool { return c.all()[c.count()-1].UUID == "after" }, "it goes on")
}

// row124: RabbitMQ closes the channel of whoever keeps a message for too long.
// The connection stays, and with it all other channels.
func row124(t *testing.T) {
	n := startNode(t)
	patienceOf := func(timeout string) {
		n.out(t, "ctl", n.dir, "eval", "application:set_env(rabbit, channel_tick_interval, 100), application:set_env(rabbit, consumer_timeout, "+timeout+").")
	}
	f := setupOn(t, n.server)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	patienceOf("200")
	f.mustPublish(sub.Topic, text("m", "x"))
	first, err := f.b.consume.connection(f.ctx())
	require.NoError(t, err)
	finish := make(chan struct{})
	c := f.consume(f.b, sub, until(finish))
	c.first()
	f.eventually(func() bool { return contains(f.log.String(), "cannot read the queue", "PRECONDITION_FAILED") }, "the log says why")
	patienceOf("undefined")
	close(finish)
	f.eventually(func() bool { return c.count() > 1 && len(f.b.Health().Incidents) == 0 }, "it is read again")
	same, err := f.b.consume.connection(f.ctx())
	require.NoError(t, err)
	require.Same(t, first, same, "the connection was not given up for it")
	c.drain()
	require.Empty(t, comeBack(f, sub), "it has come to its end")
}

// row126: and a second stop, or one before anything ran, does nothing.
func row126(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	b := f.open()
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return consumers(f, sub.Name) == 1 }, "it reads")
	c.drain()
	f.eventually(func() bool { return consumers(f, sub.Name) == 0 }, "it reads no more")
	conn, err := b.consume.connection(f.ctx())
	require.NoError(t, err)
	require.NoError(t, b.Close())
	require.True(t, conn.IsClosed())
	require.NoError(t, b.Close(), "a second time")
	require.NoError(t, f.open().Close(), "at once")
}

// row127: what reconnects does so until it is closed.
func row127(t *testing.T) {
	f := setup(t)
	b := f.open()
	first, err := b.consume.connection(f.ctx())
	require.NoError(t, err)
	require.NoError(t, first.Close())
	second, err := b.consume.connection(f.ctx())
	require.NoError(t, err)
	require.NotSame(t, first, second, "it connects again")
	require.NoError(t, b.Close())
	require.True(t, second.IsClosed())
	_, err = b.consume.connection(f.ctx())
	require.ErrorIs(t, err, errClosed)
	require.ErrorIs(t, b.Publisher().Publish(f.topic("out", nil).Name, text("m", "x")), errClosed)
	require.False(t, b.Health().Connected)
}

// row133: as the original declares it, so that both can read it while one
// moves from one to the other.
func row133(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("tasks", carrot), pipeline.OrderingNone, 1)
	_, err := f.ch.QueueDeclare(sub.Topic.Name, true, false, false, false, amqp.Table{"x-max-priority": int64(255)})
	require.NoError(t, err, "as the original did")
	f.provision(sub)
	require.NoError(t, f.ch.QueueBind(sub.Topic.Name, sub.Topic.Name, sub.Topic.Name, false, nil))
	for priority, id := range []string{"low", "high"} {
		f.foreign(sub.Topic.Name, sub.Topic.Name, amqp.Publishing{MessageId: id, Priority: uint8(priority * 9)})
	}
	f.eventually(func() bool { return f.ready(sub.Topic.Name) == 2 }, "both wait")
	c := f.consume(f.b, sub, nil)
	f.eventually(func() bool { return c.count() == 2 }, "both are read")
	require.Equal(t, []string{"high", "low"}, ids(c.all()), "the argument counts")
	require.Equal(t, "9", c.first().Metadata.Get(MetaPriority))

	other := sub
	other.Topic.Rabbit.Arguments = nil
	requireMendable(t, f.b.Provision(f.ctx(), []pipeline.Topic{other.Topic}, []broker.Subscription{other}), "x-max-priority", "arguments")
}

// row161: nobody has to requeue anything, and nothing is doubled.
func row161(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	lost := f.open()
	never := f.consume(lost, sub, until(nil))
	f.mustPublish(sub.Topic, text("in hand", "x"), text("waits", "x"), text("waits, too", "x"))
	require.Equal(t, "in hand", never.first().UUID)
	require.NoError(t, lost.Close()) // the connection goes, and nothing was settled
	c := f.consume(f.b, sub, nil)
	f.eventually(func() bool { return c.count() == 3 }, "all come")
	require.Equal(t, []string{"in hand", "waits", "waits, too"}, ids(c.all()))
	require.True(t, pipeline.OriginOf(c.all()[0].Context()).Redelivered)
	require.False(t, pipeline.OriginOf(c.all()[1].Context()).Redelivered)
	c.drain()
	require.Empty(t, comeBack(f, sub))
}

// row1W4: without a setting for it. Also what came transient is persistent
// when it is sent on.
func row1W4(t *testing.T) {
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	out := f.topic("out", nil)
	f.provision(sub)
	require.NoError(t, f.ch.ExchangeDeclare(sub.Topic.Name, "topic", true, false, false, false, nil), "the exchange is durable")
	f.ready(sub.Name) // and so is the queue, or this fails
	f.foreign(sub.Topic.Name, "any", amqp.Publishing{MessageId: "m", DeliveryMode: amqp.Transient})
	msg := f.consume(f.b, sub, nil).first()
	require.Equal(t, "1", msg.Metadata.Get(MetaDeliveryMode))
	f.mustPublish(out, msg.Copy())
	require.Equal(t, amqp.Persistent, f.take(out.Name).DeliveryMode)
}

// row1W14: as a part of the URL, which is where the original went wrong.
func row1W14(t *testing.T) {
	s := shared(t)
	u, err := url.Parse(newUser(t, s).url)
	require.NoError(t, err)
	const password = `sk@123:/%41#? "ü`
	s.api(t, http.MethodPut, "users/"+u.User.Username(), map[string]string{"password": password, "tags": ""}, nil)
	u.User = url.UserPassword(u.User.Username(), password)
	s.url, s.management = u.String(), ""
	log := &logBuffer{}
	b := openLogged(t, s.config(), log)
	require.Eventually(t, func() bool { return b.Health().OK() }, patience, 5*time.Millisecond, log)
	require.Contains(t, log.String(), "connected to RabbitMQ")
	require.NotContains(t, log.String(), "sk@123")
	require.NotContains(t, log.String(), "sk%40123")
}
