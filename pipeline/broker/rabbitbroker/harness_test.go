package rabbitbroker

import (
	"context"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill"
	stock "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/broker/brokertest"
)

// server is a RabbitMQ server that tests talk to.
type server struct {
	url        string
	management string
}

// shared returns the server that `make brokers` starts. A test that needs it
// and does not find it fails; only -short leaves it out.
func shared(t testing.TB) server {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs a RabbitMQ server")
	}
	url := os.Getenv("RABBITMQ_URL")
	require.NotEmpty(t, url, "RABBITMQ_URL: run make brokers, and set what .local/brokers.env says")
	return server{url: url, management: os.Getenv("RABBITMQ_MANAGEMENT_URL")}
}

func (s server) config() pipeline.Broker {
	return pipeline.Broker{
		Name: "rabbit", Driver: pipeline.DriverRabbitMQ,
		URL: pipeline.Secret(s.url), ManagementURL: pipeline.Secret(s.management),
	}
}

func (s server) open(t testing.TB, opts broker.Options) broker.Broker {
	t.Helper()
	b, err := Open(s.config(), opts)
	require.NoError(t, err)
	return b
}

// channel returns a channel of a foreign client.
func (s server) channel(t testing.TB) *amqp.Channel {
	t.Helper()
	conn, err := amqp.Dial(s.url)
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	ch, err := conn.Channel()
	require.NoError(t, err)
	return ch
}

func (s server) remove(t testing.TB, topics []pipeline.Topic, subs []broker.Subscription) {
	ch := s.channel(t)
	for _, sub := range subs {
		for _, queue := range layoutOf(sub.Topic).queues(sub) {
			_, _ = ch.QueueDelete(queue, false, false, false)
		}
		_ = ch.ExchangeDelete(sub.Name, false, false)
	}
	for _, topic := range topics {
		l := layoutOf(topic)
		if !l.predeclared() {
			_ = ch.ExchangeDelete(l.exchange, false, false)
		}
		_, _ = ch.QueueDelete(l.ownQueue(), false, false, false)
	}
}

func (s server) publishRaw(t testing.TB, topic pipeline.Topic, raw brokertest.Raw) {
	l := layoutOf(topic)
	err := s.channel(t).PublishWithContext(context.Background(), l.exchange, l.messageKey(), true, false,
		amqp.Publishing{Body: raw.Payload, Headers: amqp.Table(raw.Headers)})
	require.NoError(t, err)
}

func (s server) readRaw(t testing.TB, sub broker.Subscription) brokertest.Raw {
	ch := s.channel(t)
	deliveries, err := ch.Consume(layoutOf(sub.Topic).queues(sub)[0], "", true, false, false, false, nil)
	require.NoError(t, err)
	select {
	case d := <-deliveries:
		return brokertest.Raw{Payload: d.Body, Headers: d.Headers}
	case <-time.After(20 * time.Second):
		require.FailNow(t, "no message came")
		return brokertest.Raw{}
	}
}

// stockConfig is watermill-amqp's own durable set-up with our exchange type
// and our queue.
func (s server) stockConfig(queue string) stock.Config {
	cfg := stock.NewDurablePubSubConfig(s.url, stock.GenerateQueueNameConstant(queue))
	cfg.Exchange.Type = typeTopic
	cfg.QueueBind.GenerateRoutingKey = func(string) string { return "#" }
	cfg.Publish.ConfirmDelivery = true
	return cfg
}

// stockSubscriber reads the subscription's queue as a program on
// watermill-amqp does; a quorum queue needs its arguments said.
func (s server) stockSubscriber(t testing.TB, sub broker.Subscription) message.Subscriber {
	l := layoutOf(sub.Topic)
	cfg := s.stockConfig(l.queues(sub)[0])
	cfg.Queue.Arguments = l.arguments(isOrdered(sub))
	subscriber, err := stock.NewSubscriber(cfg, watermill.NopLogger{})
	require.NoError(t, err)
	return subscriber
}

func (s server) stockPublisher(t testing.TB, _ pipeline.Topic) message.Publisher {
	publisher, err := stock.NewPublisher(s.stockConfig("unused"), watermill.NopLogger{})
	require.NoError(t, err)
	return publisher
}

func (s server) harness() brokertest.Harness {
	return brokertest.Harness{
		Features: brokertest.Features{
			Name: "rabbit", Server: true, SharesPartition: true, TailOldestIdle: true,
			MaxMessage: defaultMaxMessage + 1, TypedHeaders: typedHeaders(), ForceShort: true,
		},
		Open:   s.open,
		Node:   newNode,
		Remove: s.remove,
		Cut: func(t testing.TB, sub broker.Subscription) {
			_, err := s.channel(t).QueueDelete(sub.Name, false, false, false)
			require.NoError(t, err)
		},
		Drifted: func(topic pipeline.Topic) pipeline.Topic {
			topic.Rabbit.QueueType = "classic"
			return topic
		},
		PublishRaw: s.publishRaw,
		ReadRaw:    s.readRaw,
		PublishUndecodable: func(t testing.TB, topic pipeline.Topic, payload []byte) {
			s.publishRaw(t, topic, brokertest.Raw{Payload: payload, Headers: map[string]any{"n": int32(1)}})
		},
		StockPublisher:  s.stockPublisher,
		StockSubscriber: s.stockSubscriber,
	}
}

func typedHeaders() map[string]any {
	return amqp.Table{
		"int": int32(-7), "long": int64(1) << 60, "byte": byte(200), "yes": true, "pi": 3.25,
		"binary": []byte{0, 0xff, 'x'}, "at": time.Unix(1_700_000_000, 0), "nothing": nil, "text": "plain",
		"price":  amqp.Decimal{Scale: 2, Value: 12345},
		"nested": amqp.Table{"list": []any{int32(1), "two", amqp.Table{"three": int64(3)}}, "empty": amqp.Table{}},
	}
}

// node is a RabbitMQ server of one test's own, to be killed and frozen.
type node struct {
	dir string
	server
}

func newNode(t testing.TB) *brokertest.Node {
	n := startNode(t)
	n.kill(t)
	// No RestartCommand: Watermill's TestReconnect compares with a slice that
	// a goroutine of its own may still be appending to. It fails now and then
	// with one message "extra", and under the race detector always. TestRestart
	// does the same and more.
	return &brokertest.Node{
		Open: n.open, Start: n.start,
		Kill: func(t testing.TB) {
			// RabbitMQ 3.10 writes the names of its quorum queues to disk half
			// a second late. A queue declared just before a SIGKILL has no
			// leader ever after, and what was confirmed to it is lost.
			time.Sleep(time.Second) //nolint:forbidigo // the broker does not say when it has written the queue
			n.kill(t)
		},
		Freeze:  func(t testing.TB) { brokertest.Freeze(t, n.pid()) },
		Thaw:    func(testing.TB) { brokertest.Thaw(n.pid()) },
		Block:   func(t testing.TB) { n.run(t, "ctl", n.dir, "set_vm_memory_high_watermark", "0.00001") },
		Unblock: func(t testing.TB) { n.run(t, "ctl", n.dir, "set_vm_memory_high_watermark", "0.8") },
	}
}

// script starts and stops servers.
var script, _ = filepath.Abs("../../../deploy/local/node")

func startNode(t testing.TB) *node {
	t.Helper()
	if testing.Short() {
		t.Skip("-short: needs a RabbitMQ server")
	}
	n := &node{dir: t.TempDir()}
	t.Cleanup(func() {
		brokertest.Thaw(n.pid())
		_ = exec.Command(script, "rabbitmq", "kill", n.dir).Run() //nolint:gosec // our own script
	})
	n.start(t)
	return n
}

func (n *node) start(t testing.TB) {
	t.Helper()
	n.run(t, "start", n.dir)
	port, err := os.ReadFile(filepath.Join(n.dir, "port"))
	require.NoError(t, err)
	n.url = "amqp://guest:guest@127.0.0.1:" + strings.TrimSpace(string(port)) + "/"
}

func (n *node) kill(t testing.TB) { t.Helper(); n.run(t, "kill", n.dir) }

func (n *node) run(t testing.TB, args ...string) { t.Helper(); n.out(t, args...) }

func (n *node) out(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(script, append([]string{"rabbitmq"}, args...)...).CombinedOutput() //nolint:gosec // our own script
	require.NoError(t, err, "%s", out)
	return string(out)
}

// pid is the server's process; 0: there is none.
func (n *node) pid() int {
	text, err := os.ReadFile(filepath.Join(n.dir, "pid"))
	if err != nil {
		return 0
	}
	pid, _ := strconv.Atoi(strings.TrimSpace(string(text)))
	return pid
}

// quiet is where logs go, unless -v wants to see them.
func quiet() *slog.Logger {
	if testing.Verbose() {
		return slog.Default()
	}
	return slog.New(slog.DiscardHandler)
}
