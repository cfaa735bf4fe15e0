package rabbitbroker

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// TestProvision_Different: a queue or exchange that exists and is different is
// an error that says what is there, what is wanted and what to do.
func TestProvision_Different(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	f.provision(sub)
	drifted := sub
	drifted.Ordering = pipeline.OrderingKey
	err := f.b.Provision(f.ctx(), f.all(), []broker.Subscription{drifted})
	requireMendable(t, err, sub.Name, "x-single-active-consumer", "ordering", "delete it once it is empty")

	drifted.Topic.Rabbit.ExchangeType = "direct"
	err = f.b.Provision(f.ctx(), []pipeline.Topic{drifted.Topic}, nil)
	requireMendable(t, err, sub.Topic.Name, "'direct'", "'topic'", "exchange_type")

	// A consumer that meets it says so in health, and does not spin.
	drifted.Topic = sub.Topic
	f.consume(f.b, drifted, nil)
	f.eventually(func() bool { return len(f.b.Health().Incidents) == 1 }, "health says so")
	require.Equal(t, 1, strings.Count(f.log.String(), "cannot read the queue"))
}

func requireMendable(t *testing.T, err error, parts ...string) {
	t.Helper()
	require.Error(t, err)
	require.NotEqual(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	require.NotContains(t, err.Error(), "\n")
	for _, part := range parts {
		require.ErrorContains(t, err, part)
	}
}

// TestProvision_Verify: with the management API types, arguments and bindings
// are compared, all faults at once; nothing is made.
func TestProvision_Verify(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", nil), pipeline.OrderingNone, 1)
	parts := f.sub(f.topic("parts", func(t *pipeline.Topic) { t.Partitions = 3 }), pipeline.OrderingKey, 1)
	custom := f.topic("custom", func(t *pipeline.Topic) {
		t.Rabbit.QueueType = "classic"
		t.Rabbit.Arguments = map[string]any{"x-max-priority": 5, "x-overflow": "reject-publish"}
	})
	subs := []broker.Subscription{sub, parts}
	f.provision(subs...)
	verify := func(change func(*pipeline.Topic)) error {
		var topics []pipeline.Topic
		changed := make([]broker.Subscription, len(subs))
		for _, topic := range f.all() {
			topic.Provision = pipeline.ProvisionVerify
			if topic.Name == sub.Topic.Name && change != nil {
				change(&topic)
			}
			topics = append(topics, topic)
			for i, s := range subs {
				if s.Topic.Name == topic.Name {
					changed[i] = s
					changed[i].Topic = topic
				}
			}
		}
		return f.b.Provision(f.ctx(), topics, changed)
	}
	require.NoError(t, verify(nil))
	requireMendable(t, verify(func(t *pipeline.Topic) { t.Rabbit.ExchangeType = "fanout" }), "type topic, wanted fanout")
	requireMendable(t, verify(func(t *pipeline.Topic) { t.Rabbit.QueueType = "classic" }),
		`x-queue-type = "quorum", wanted nothing`, "x-delivery-limit = 1000000, wanted nothing")
	requireMendable(t, verify(func(t *pipeline.Topic) { t.Rabbit.RoutingKey = ptr("other") }), `with key "other"`)
	require.NoError(t, f.ch.QueueUnbind(sub.Name, "#", sub.Topic.Name, nil))
	requireMendable(t, verify(nil), "not there: binding of "+sub.Name)
	_, err := f.ch.QueueDelete(sub.Name, false, false, false)
	require.NoError(t, err)
	requireMendable(t, verify(nil), "not there: queue "+sub.Name, "not there: binding of "+sub.Name, "provision: create")
	require.NotEmpty(t, custom.Name)
}

// TestProvision_VerifyWithoutManagement: existence is all that can be seen,
// and that is said.
func TestProvision_VerifyWithoutManagement(t *testing.T) {
	t.Parallel()
	s := shared(t)
	s.management = ""
	f := setupOn(t, s)
	sub := f.sub(f.topic("in", func(t *pipeline.Topic) { t.Provision = pipeline.ProvisionVerify }), pipeline.OrderingNone, 1)
	err := f.b.Provision(f.ctx(), f.all(), []broker.Subscription{sub})
	requireMendable(t, err, "not there: exchange "+sub.Topic.Name, "not there: queue "+sub.Name)
	made := sub.Topic
	made.Provision = pipeline.ProvisionCreate
	require.NoError(t, f.b.Provision(f.ctx(), []pipeline.Topic{made}, []broker.Subscription{sub}))
	require.NoError(t, f.b.Provision(f.ctx(), f.all(), []broker.Subscription{sub}))
	require.Contains(t, f.log.String(), "existence only")
	status, err := f.b.Inspect(f.ctx(), f.all(), []broker.Subscription{sub})
	require.NoError(t, err)
	require.Equal(t, int64(-1), status[0].InFlight)
	require.Contains(t, status[0].Notes[0], "existence and ready count only: set management_url")
}

// TestProvision_Unread: a topic that nobody reads keeps its messages, with its
// retention, unless it says queue: none.
func TestProvision_Unread(t *testing.T) {
	t.Parallel()
	t.Run("1-W3 what is published is kept in a queue, also before somebody reads it, or is an error", func(t *testing.T) {
		t.Parallel()
		f := setup(t)
		kept := f.topic("kept", func(t *pipeline.Topic) { t.Retention = pipeline.Retention{Age: 3600e9, Bytes: 1 << 20} })
		none := f.topic("none", func(t *pipeline.Topic) { t.Rabbit.Queue = noQueue })
		f.provision()
		f.mustPublish(kept, text("m", "x"))
		require.Equal(t, 1, f.ready(kept.Name))
		err := f.publish(none, text("m", "x"))[0]
		require.Equal(t, pipeline.ReasonUnroutable, pipeline.ReasonOf(err), "%v", err)
		var q apiQueue
		f.api(t, http.MethodGet, "queues/%2F/"+url.PathEscape(kept.Name), nil, &q)
		require.Equal(t, map[string]any{
			"x-queue-type": "quorum", "x-delivery-limit": 1e6, "x-message-ttl": 3.6e6, "x-max-length-bytes": float64(1 << 20),
		}, q.Arguments)
	})
}

// TestInspect_LeftOver: the queue that a topic had before somebody read it is
// reported, since it goes on growing.
func TestInspect_LeftOver(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("in", nil)
	f.provision()
	f.mustPublish(topic, text("m", "x"))
	sub := f.sub(topic, pipeline.OrderingNone, 1)
	f.provision(sub)
	rows, err := f.b.Inspect(f.ctx(), f.all(), []broker.Subscription{sub})
	require.NoError(t, err)
	require.Len(t, rows, 2)
	require.Equal(t, topic.Name, rows[1].Name)
	require.Equal(t, int64(1), rows[1].Ready)
	require.Contains(t, rows[1].Problems[0], "then delete it")
}

// TestProvision_ChecksFirst: what cannot be is refused before anything is made.
func TestProvision_ChecksFirst(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", func(t *pipeline.Topic) { t.Partitions, t.Rabbit.Queue = 4, "one" }), pipeline.OrderingKey, 1)
	requireMendable(t, f.b.Provision(f.ctx(), f.all(), []broker.Subscription{sub}), "partitions: 4", `queue "one"`)
	bad := f.sub(f.topic("bad", func(t *pipeline.Topic) { t.Rabbit.Arguments = map[string]any{"x": struct{}{}} }), pipeline.OrderingNone, 1)
	requireMendable(t, f.b.Provision(f.ctx(), []pipeline.Topic{bad.Topic}, []broker.Subscription{bad}), "arguments")
}

// TestPartitions_KeysStay: behind the consistent-hash exchange a key is always
// in the same queue, also for producers that know nothing but the header.
func TestPartitions_KeysStay(t *testing.T) {
	t.Parallel()
	f := setup(t)
	sub := f.sub(f.topic("in", func(t *pipeline.Topic) { t.Partitions, t.Key = 3, []string{"/id"} }), pipeline.OrderingKey, 8)
	f.provision(sub)
	for i := range 60 {
		key := string(rune('a' + i%20))
		if i%2 == 0 {
			f.mustPublish(sub.Topic, text("m", `{"id":"`+key+`"}`))
			continue
		}
		f.foreign(sub.Topic.Name, "any.key", amqp.Publishing{
			Headers: amqp.Table{pipeline.MetaPartitionKey: key}, Body: []byte(`{"id":"` + key + `"}`),
		})
	}
	where, used := make(map[string]string), make(map[string]bool)
	deliveries := make(chan amqp.Delivery)
	for _, queue := range layoutOf(sub.Topic).queues(sub) {
		from, err := f.ch.Consume(queue, queue, true, false, false, false, nil)
		require.NoError(t, err)
		go func() {
			for d := range from {
				deliveries <- d
			}
		}()
	}
	for range 60 {
		d := <-deliveries
		used[d.ConsumerTag] = true
		if before, ok := where[string(d.Body)]; ok {
			require.Equal(t, before, d.ConsumerTag, string(d.Body))
		}
		where[string(d.Body)] = d.ConsumerTag
	}
	require.Len(t, used, 3, "all partitions have some")
}
