package rabbitbroker

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// patience is how long tests wait for what must happen.
const patience = 30 * time.Second

// bundle is a broker, its server, and topics of one test's own.
type bundle struct {
	testing.TB
	server
	b      *Broker
	ch     *amqp.Channel // a foreign client's
	prefix string
	log    *logBuffer

	mu     sync.Mutex
	topics map[string]pipeline.Topic
	subs   []broker.Subscription
}

func setup(t testing.TB) *bundle { return setupOn(t, shared(t)) }

func setupOn(t testing.TB, s server) *bundle {
	t.Helper()
	f := &bundle{
		TB: t, server: s, ch: s.channel(t), log: &logBuffer{},
		prefix: "t" + uuid.NewString()[:8], topics: make(map[string]pipeline.Topic),
	}
	t.Cleanup(func() { s.remove(t, f.all(), f.subs) })
	f.b = f.open()
	return f
}

// open opens one more broker, as another process has it.
func (f *bundle) open() *Broker {
	f.Helper()
	b, err := Open(f.config(), broker.Options{
		Instance: f.prefix, Topic: f.lookup, Log: slog.New(slog.NewTextHandler(f.log, nil)),
	})
	require.NoError(f, err)
	f.Cleanup(func() { _ = b.Close() })
	return b.(*Broker)
}

func (f *bundle) lookup(name string) (pipeline.Topic, bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	t, ok := f.topics[name]
	return t, ok
}

func (f *bundle) all() []pipeline.Topic {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []pipeline.Topic
	for _, t := range f.topics {
		all = append(all, t)
	}
	return all
}

// topic makes up a topic; set may change it.
func (f *bundle) topic(name string, set func(*pipeline.Topic)) pipeline.Topic {
	t := pipeline.Topic{Name: f.prefix + "-" + name, Provision: pipeline.ProvisionCreate}
	if set != nil {
		set(&t)
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.topics[t.Name] = t
	return t
}

func (f *bundle) sub(t pipeline.Topic, ordering pipeline.Ordering, concurrency int) broker.Subscription {
	s := broker.Subscription{
		Name: t.Name + ".h", Handler: "h", Topic: t, Ordering: ordering,
		Concurrency: concurrency, InFlight: concurrency, Instance: f.prefix,
	}
	f.subs = append(f.subs, s)
	return s
}

// provisioned makes the topics and subscriptions of f.
func (f *bundle) provision(subs ...broker.Subscription) {
	f.Helper()
	require.NoError(f, f.b.Provision(f.ctx(), f.all(), subs))
}

// narrow makes a topic whose queue takes one message, and refuses more.
func (f *bundle) narrow() pipeline.Topic {
	f.Helper()
	topic := f.topic("out", func(t *pipeline.Topic) {
		t.Rabbit.Arguments = map[string]any{"x-max-length": 1, "x-overflow": "reject-publish"}
		t.Rabbit.QueueType = "classic"
	})
	f.provision()
	return topic
}

func (f *bundle) ctx() context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	f.Cleanup(cancel)
	return ctx
}

// foreign publishes as a client that is no Waybill, mandatory.
func (f *bundle) foreign(exchange, key string, p amqp.Publishing) {
	f.Helper()
	require.NoError(f, f.ch.PublishWithContext(f.ctx(), exchange, key, true, false, p))
}

// publish publishes with a deadline and returns each message's error.
func (f *bundle) publish(t pipeline.Topic, msgs ...*message.Message) []error {
	f.Helper()
	ctx := f.ctx()
	for _, msg := range msgs {
		msg.SetContext(ctx)
	}
	err := f.b.Publisher().Publish(t.Name, msgs...)
	if err == nil {
		return make([]error, len(msgs))
	}
	var failed *broker.PublishError
	require.ErrorAs(f, err, &failed)
	return failed.Errs
}

func (f *bundle) mustPublish(t pipeline.Topic, msgs ...*message.Message) {
	f.Helper()
	require.NoError(f, broker.PublishFailed(f.publish(t, msgs...)))
}

// ready returns how many messages wait in a queue.
func (f *bundle) ready(queue string) int {
	f.Helper()
	q, err := f.ch.QueueDeclarePassive(queue, true, false, false, false, nil)
	require.NoError(f, err)
	return q.Messages
}

// take gets one message as a foreign client.
func (f *bundle) take(queue string) amqp.Delivery {
	f.Helper()
	var d amqp.Delivery
	f.eventually(func() (ok bool) {
		var err error
		d, ok, err = f.ch.Get(queue, true)
		require.NoError(f, err)
		return ok
	}, "a message in queue "+queue)
	return d
}

func (f *bundle) eventually(ok func() bool, what string) {
	f.Helper()
	for end := time.Now().Add(patience); !ok(); time.Sleep(5 * time.Millisecond) { //nolint:forbidigo // the pace of a look
		if time.Now().After(end) {
			require.FailNow(f, "never came true: "+what, "log:\n%s", f.log)
		}
	}
}

// consumed is what a subscription has handed out.
type consumed struct {
	f    *bundle
	sub  *broker.Subscriber
	done chan struct{}

	mu   sync.Mutex
	msgs []*message.Message
}

// consume runs handle for each message, as many at a time as the subscription
// says, and acks it when handle returns true.
func (f *bundle) consume(b *Broker, sub broker.Subscription, handle func(*message.Message) bool) *consumed {
	f.Helper()
	c := &consumed{f: f, sub: broker.NewSubscriber(sub, b.Source(sub), b.log), done: make(chan struct{})}
	messages, err := c.sub.Subscribe(context.Background(), sub.Topic.Name)
	require.NoError(f, err)
	go func() {
		defer close(c.done)
		var handlers sync.WaitGroup
		defer handlers.Wait()
		for msg := range messages {
			c.mu.Lock()
			c.msgs = append(c.msgs, msg)
			c.mu.Unlock()
			handlers.Go(func() {
				if handle == nil || handle(msg) {
					msg.Ack()
				}
			})
		}
	}()
	f.Cleanup(func() { _ = c.sub.Close(); <-c.done })
	return c
}

func (c *consumed) all() []*message.Message {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.msgs)
}

func (c *consumed) count() int { return len(c.all()) }

// first waits for the first message.
func (c *consumed) first() *message.Message {
	c.f.Helper()
	c.f.eventually(func() bool { return c.count() > 0 }, "a message")
	return c.all()[0]
}

func (c *consumed) drain() {
	c.f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	require.NoError(c.f, c.sub.Drain(ctx))
	<-c.done
}

// logBuffer keeps what was logged.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func text(id, body string) *message.Message { return message.NewMessage(id, []byte(body)) }

func ptr(s string) *string { return &s }

func contains(s string, parts ...string) bool {
	for _, part := range parts {
		if !strings.Contains(s, part) {
			return false
		}
	}
	return true
}

var errStop = errors.New("stop")

// until acks once gate is closed, and leaves the message if its context ends
// before.
func until(gate <-chan struct{}) func(*message.Message) bool {
	return func(msg *message.Message) bool {
		select {
		case <-gate:
			return true
		case <-msg.Context().Done():
			return false
		}
	}
}
