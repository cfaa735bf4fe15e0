package kafkabroker

import (
	"log/slog"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// T9 of the fault table: the published adapter begins a new group at the
// newest message, and receives none of the ten that were there.
func TestT9_FirstStartIsOldest(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 4)
	b.publish(b.start("p"), 0, 10, nil)
	var got atomic.Int64
	b.consume(b.start("c"), func(msg *message.Message) { got.Add(1); msg.Ack() })
	b.eventually(func() bool { return got.Load() == 10 }, "all ten are received")
}

// T9: where retention has passed the committed offset, the published adapter
// jumps to the newest message without a word. Here what is left is read, and
// the gap is an incident with its size.
func TestT9_FallenOffRetention(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1)
	driver := b.start("c")
	b.publish(driver, 0, 10, nil)
	var got atomic.Int64
	first := b.consume(driver, func(msg *message.Message) { got.Add(1); msg.Ack() })
	b.eventually(func() bool { return got.Load() == 10 }, "the first ten")
	drained(t, first)

	b.publish(driver, 10, 40, nil)
	require.NoError(t, b.admin(t).DeleteRecords(b.topic.Name, map[int32]int64{0: 25}))
	b.consume(driver, func(msg *message.Message) { got.Add(1); msg.Ack() })
	b.eventually(func() bool { return got.Load() == 25 }, "the 15 that are left")
	incidents := strings.Join(driver.Health().Incidents, "\n")
	require.Contains(t, incidents, "gap of 15 messages, offsets 10 to 24")
	require.Contains(t, incidents, b.sub.Name)
	require.Contains(t, incidents, b.topic.Name)
}

// The same while the subscription reads: its head is stuck, and what it has
// fetched goes out of retention under it.
func TestT9_FallenOffRetentionWhileReading(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1, func(s *broker.Subscription) { s.Concurrency, s.InFlight = 1, 1 })
	driver := b.start("c")
	b.publish(driver, 0, 1, nil)
	gate := make(chan struct{})
	var got atomic.Int64
	s := b.consume(driver, func(msg *message.Message) { <-gate; got.Add(1); msg.Ack() })
	b.eventually(func() bool { return s.InFlight() == 1 }, "it reads")
	payload := make([]byte, 900_000)
	for n := range 60 { // far more than is fetched ahead
		msg := message.NewMessage(string(rune('a'+n)), payload)
		require.NoError(t, driver.Publisher().Publish(b.topic.Name, msg))
	}
	require.NoError(t, b.admin(t).DeleteRecords(b.topic.Name, map[int32]int64{0: 60}))
	close(gate)
	b.publish(driver, 100, 101, nil)
	b.eventually(func() bool { return strings.Contains(strings.Join(driver.Health().Incidents, " "), "gap of") }, "the gap is told")
	before := got.Load()
	b.publish(driver, 101, 102, nil)
	b.eventually(func() bool { return got.Load() > before }, "it reads on")
}

// A log that ends before the committed offset was cut, or is another one.
func TestStart_CommittedBeyondTheEnd(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1)
	driver := b.start("c")
	b.publish(driver, 0, 10, nil)
	group := committer{b: driver, group: b.sub.Name, topic: b.topic.Name}
	require.NoError(t, group.write(nil, map[int32]position{0: {next: 1000, above: []int64{1002}}}))
	var got atomic.Int64
	b.consume(driver, func(msg *message.Message) { got.Add(1); msg.Ack() })
	b.eventually(func() bool { return got.Load() == 10 }, "it is read from its oldest message")
	require.Contains(t, strings.Join(driver.Health().Incidents, " "), "the log ends at offset 10, before 1000")
}

// A new partition of a growing topic is read from its beginning, also by a
// subscription that began at the newest message.
func TestStart_NewPartitionIsReadWhole(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1, func(s *broker.Subscription) { s.Start = pipeline.Start{Newest: true} })
	require.NoError(t, b.admin(t).CreatePartitions(b.topic.Name, 3, nil, false))
	driver := b.start("c")
	b.eventually(func() bool {
		b.publish(driver, 0, 30, func(n int) string { return string(rune('a' + n)) })
		partitions, err := driver.control.Partitions(b.topic.Name)
		return err == nil && len(partitions) == 3
	}, "the producer knows three partitions")
	offsets, err := listOffsets(b.admin(t), b.topic.Name, 3, -1)
	require.NoError(t, err)
	var total int64
	for _, end := range offsets {
		total += end
	}
	var got atomic.Int64
	b.consume(driver, func(msg *message.Message) { got.Add(1); msg.Ack() })
	b.eventually(func() bool { return got.Load() == total }, "all are read")
}

// What a topic that moves away has left is read by a group that is there
// already. One that never was is not placed at the end and called drained.
func TestStart_LeftoverIsNotMade(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 2)
	var log strings.Builder
	open := b.open(t, broker.Options{Instance: "c", Log: slog.New(slog.NewTextHandler(&log, nil))})
	driver := open.(*Broker)
	ctx, cancel := contextFor(30 * time.Second)
	defer cancel()
	provision := func(start pipeline.Start, leftover bool) error {
		sub := b.sub
		sub.Start, sub.Leftover = start, leftover
		for {
			err := driver.Provision(ctx, nil, []broker.Subscription{sub})
			if pipeline.ReasonOf(err) != pipeline.ReasonUnavailable || ctx.Err() != nil { // as the engine does
				return err
			}
		}
	}
	newest, since := pipeline.Start{Newest: true}, pipeline.Start{Time: time.Now()}
	for range 2 {
		for _, start := range []pipeline.Start{newest, since} {
			err := provision(start, true)
			require.ErrorIs(t, err, broker.ErrMissing)
			require.True(t, pipeline.IsPermanent(err))
			require.ErrorContains(t, err, b.sub.Name)
		}
	}
	require.NoError(t, provision(pipeline.Start{}, true), "one that starts at the oldest may have read nothing yet")

	require.NoError(t, provision(newest, false))
	for _, start := range []pipeline.Start{newest, since, {}} {
		require.NoError(t, provision(start, true))
	}
	require.NoError(t, driver.Close())
	require.Equal(t, 1, strings.Count(log.String(), "the group has committed nothing: all that is retained is read"))
}

func drained(t testing.TB, s *broker.Subscriber) {
	t.Helper()
	done := make(chan error, 1)
	go func() {
		ctx, cancel := contextFor(30 * time.Second)
		defer cancel()
		done <- s.Drain(ctx)
	}()
	require.NoError(t, <-done)
}
