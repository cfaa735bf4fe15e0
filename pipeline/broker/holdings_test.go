package broker

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// TestHoldings_Archiver: what dies is read by the archiver, on every topic for
// it.
func TestHoldings_Archiver(t *testing.T) {
	t.Parallel()
	p := pipeline.Pipeline{
		Instance: "i",
		Brokers:  map[string]pipeline.Broker{"main": {GroupPrefix: "shop."}},
		Topics: map[string]pipeline.Topic{
			"in": {Name: "in", Broker: "main"}, "in.work.dlq": {Name: "in.work.dlq", Broker: "main", DeadLetter: true},
		},
		Handlers: []pipeline.Handler{{Name: "work", From: "in"}},
	}
	_, subs := Holdings(p, "main")
	require.Len(t, subs, 2)
	require.Equal(t, ArchiveOf(p, p.Topics["in.work.dlq"]), subs[1])
	require.Equal(t, "shop.in.work.dlq.archiver", subs[1].Name)
	require.Equal(t, pipeline.OrderingNone, subs[1].Ordering)
	require.Equal(t, pipeline.Start{}, subs[1].Start, "from the oldest on")
}

// TestHoldings_Draining: on the broker that a topic moves away from there is
// what its handlers read, and nothing is made or compared that reading does
// not need.
func TestHoldings_Draining(t *testing.T) {
	t.Parallel()
	p := pipeline.Pipeline{
		Brokers: map[string]pipeline.Broker{
			"new": {Driver: pipeline.DriverKafka}, "old": {Driver: pipeline.DriverRabbitMQ, GroupPrefix: "shop."},
		},
		Topics: map[string]pipeline.Topic{
			"in": {
				Name: "in", Broker: "new", Draining: "old", Partitions: 8, Replicas: 3, MaxMessage: 10,
				Retention: pipeline.Retention{Age: time.Hour}, Provision: pipeline.ProvisionCreate,
			},
			"unread": {Name: "unread", Broker: "new", Draining: "old"},
		},
		Handlers: []pipeline.Handler{{Name: "work", From: "in"}},
	}
	want := pipeline.Topic{Name: "in", Broker: "old", Partitions: 8, Provision: pipeline.ProvisionVerify}
	topics, subs := Holdings(p, "old")
	require.Equal(t, []pipeline.Topic{want}, topics)
	require.Len(t, subs, 1)
	require.Equal(t, "shop.in.work", subs[0].Name)
	require.Equal(t, want, subs[0].Topic)
	require.True(t, subs[0].Leftover, "a driver must not make it")

	topics, subs = Holdings(p, "new")
	require.Len(t, topics, 2)
	require.Equal(t, p.Topics["in"], topics[0])
	require.Equal(t, "in.work", subs[0].Name)
	require.False(t, subs[0].Leftover)

	p.Brokers["old"] = pipeline.Broker{Driver: pipeline.DriverKafka}
	topics, _ = Holdings(p, "old")
	require.Zero(t, topics[0].Partitions, "Kafka's are found, and may differ from those of the new broker")
	require.Zero(t, topics[0].Retention, "and so may its retention")

	p.Brokers["old"] = pipeline.Broker{Driver: pipeline.DriverEmbedded}
	topics, subs = Holdings(p, "old")
	require.Equal(t, pipeline.Retention{Age: -1, Bytes: -1}, topics[0].Retention, "it deletes by itself, and is to delete nothing")
	require.Equal(t, topics[0], subs[0].Topic)
}
