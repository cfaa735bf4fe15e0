package kafkabroker

import (
	"context"
	"flag"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// faults are what a broker may answer to any request, likely and unlikely.
var faults = []*kerr.Error{
	kerr.UnknownServerError, kerr.RequestTimedOut, kerr.NetworkException, kerr.BrokerNotAvailable,
	kerr.CoordinatorLoadInProgress, kerr.CoordinatorNotAvailable, kerr.NotCoordinator, kerr.NotController,
	kerr.NotLeaderForPartition, kerr.LeaderNotAvailable, kerr.ReplicaNotAvailable, kerr.KafkaStorageError,
	kerr.FencedLeaderEpoch, kerr.UnknownLeaderEpoch, kerr.UnknownTopicOrPartition, kerr.UnknownTopicID,
	kerr.OffsetOutOfRange, kerr.CorruptMessage, kerr.InvalidFetchSize, kerr.OffsetNotAvailable,
	kerr.NotEnoughReplicas, kerr.NotEnoughReplicasAfterAppend, kerr.MessageTooLarge, kerr.RecordListTooLarge,
	kerr.InvalidProducerEpoch, kerr.OutOfOrderSequenceNumber, kerr.UnknownProducerID, kerr.ProducerFenced,
	kerr.InvalidProducerIDMapping, kerr.ConcurrentTransactions, kerr.InvalidRecord, kerr.PolicyViolation, kerr.InvalidTimestamp,
	kerr.RebalanceInProgress, kerr.IllegalGeneration, kerr.UnknownMemberID, kerr.FencedInstanceID,
	kerr.GroupMaxSizeReached, kerr.InvalidSessionTimeout, kerr.InconsistentGroupProtocol, kerr.UnstableOffsetCommit,
	kerr.OffsetMetadataTooLarge, kerr.InvalidCommitOffsetSize,
	kerr.TopicAuthorizationFailed, kerr.GroupAuthorizationFailed, kerr.ClusterAuthorizationFailed,
	kerr.ThrottlingQuotaExceeded, kerr.UnsupportedVersion,
}

// allFaults has the whole table run, which takes minutes; else each kind of
// request gets a fifth of it.
var allFaults = flag.Bool("faults", false, "run the whole table of faults")

// saboteur makes kfake answer some requests of a kind with an error.
type saboteur struct {
	left atomic.Int64 // requests still to fail
	code atomic.Int64
}

func (s *saboteur) arm(fault *kerr.Error, requests int64) {
	s.code.Store(int64(fault.Code))
	s.left.Store(requests)
}

// fail answers as kfake wants it: the error before whether there is an answer.
//
//nolint:revive // kfake has this order
func (s *saboteur) fail(fake *kfake.Cluster, request kmsg.Request, answer func(kmsg.Request, int16) kmsg.Response) (kmsg.Response, error, bool) {
	fake.KeepControl()
	if s.left.Add(-1) < 0 {
		return nil, nil, false
	}
	return answer(request, int16(s.code.Load())), nil, true //nolint:gosec // a code
}

// Whatever the broker answers twice to requests of one kind, no message is
// lost: each one published without an error is handled, nobody gets stuck,
// and what is done stays done.
func TestFaults_NothingIsLost(t *testing.T) {
	t.Parallel()
	kinds := map[string]struct {
		key    kmsg.Key
		answer func(kmsg.Request, int16) kmsg.Response
	}{
		"Produce":         {kmsg.Produce, failProduce},
		"Fetch":           {kmsg.Fetch, failFetch},
		"OffsetCommit":    {kmsg.OffsetCommit, failCommit},
		"OffsetFetch":     {kmsg.OffsetFetch, failOffsetFetch},
		"JoinGroup":       {kmsg.JoinGroup, failTop},
		"SyncGroup":       {kmsg.SyncGroup, failTop},
		"Heartbeat":       {kmsg.Heartbeat, failTop},
		"FindCoordinator": {kmsg.FindCoordinator, failTop},
		"InitProducerID":  {kmsg.InitProducerID, failTop},
		"ListOffsets":     {kmsg.ListOffsets, failListOffsets},
	}
	for name, kind := range kinds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			fake, err := kfake.NewCluster(kfake.NumBrokers(2), kfake.SeedTopics(2, "out"))
			require.NoError(t, err)
			t.Cleanup(fake.Close)
			s := &saboteur{}
			fake.ControlKey(int16(kind.key), func(request kmsg.Request) (kmsg.Response, error, bool) {
				return s.fail(fake, request, kind.answer)
			})
			for i, fault := range faults {
				if !*allFaults && i%5 != len(name)%5 {
					continue
				}
				t.Run(fault.Message, func(t *testing.T) {
					nothingIsLost(t, fake.ListenAddrs(), func() { s.arm(fault, 2) })
				})
			}
		})
	}
}

// nothingIsLost publishes and consumes under faults, again after a drain, and
// requires that everything that was published is handled, once.
func nothingIsLost(t *testing.T, addrs []string, arm func()) {
	topic := pipeline.Topic{Name: strings.ReplaceAll(t.Name(), "/", "."), Partitions: 2, Provision: pipeline.ProvisionCreate}
	cfg := pipeline.Broker{Name: "fake", URL: pipeline.Secret(strings.Join(addrs, ","))}
	opened, err := Open(cfg, options(topic.Name))
	require.NoError(t, err)
	defer opened.Close()
	b := opened.(*Broker)
	ctx, cancel := contextFor(30 * time.Second)
	defer cancel()
	sub := broker.Subscription{Name: topic.Name + ".h", Topic: topic, Concurrency: 4, InFlight: 8}
	require.NoError(t, b.Provision(ctx, []pipeline.Topic{topic}, []broker.Subscription{sub}))

	var mu sync.Mutex
	runs := make(map[string]int)
	handled := func(want map[string]bool) bool {
		mu.Lock()
		defer mu.Unlock()
		for id := range want {
			if runs[id] == 0 {
				return false
			}
		}
		return true
	}
	accepted := make(map[string]bool)
	for round := range 2 {
		arm()
		s := broker.NewSubscriber(sub, b.Source(sub), quiet())
		messages, err := s.Subscribe(ctx, topic.Name)
		require.NoError(t, err)
		var reading sync.WaitGroup
		reading.Go(func() {
			for msg := range messages {
				mu.Lock()
				runs[msg.UUID]++
				mu.Unlock()
				msg.Ack()
			}
		})
		for n := range 5 {
			id := fmt.Sprint(round, "-", n)
			if publishUntil(ctx, t, b, topic.Name, id, strconv.Itoa(n)) {
				accepted[id] = true
			}
		}
		arm() // now that everybody is busy
		require.Eventually(t, func() bool { return handled(accepted) }, 25*time.Second, 2*time.Millisecond,
			"all are handled: %v of %v", runs, accepted)
		arm() // the last commit insists
		require.NoError(t, s.Drain(ctx))
		reading.Wait()
	}
	mu.Lock()
	defer mu.Unlock()
	for id, n := range runs {
		require.Equal(t, 1, n, "runs of %s", id)
	}
}

// publishUntil publishes until it has worked, or failed for good: false.
func publishUntil(ctx context.Context, t *testing.T, b *Broker, topic, id, key string) bool {
	for {
		msg := message.NewMessage(id, []byte(id))
		msg.Metadata.Set(pipeline.MetaPartitionKey, key)
		one, cancel := context.WithTimeout(ctx, 10*time.Second)
		msg.SetContext(one)
		err := b.Publisher().Publish(topic, msg)
		cancel()
		switch {
		case err == nil:
			return true
		case pipeline.IsPermanent(err):
			reason := pipeline.ReasonOf(err)
			require.Contains(t, []pipeline.Reason{pipeline.ReasonTooLarge, pipeline.ReasonRejected}, reason, "%v", err)
			return false
		}
		require.NoError(t, ctx.Err(), "never published: %v", err)
		require.Contains(t, []pipeline.Reason{pipeline.ReasonUnavailable, pipeline.ReasonTimeout}, pipeline.ReasonOf(err), "%v", err)
	}
}

// T9 of the fault table: the published adapter asks for one replica's ack.
// On the wire, this driver asks for all, with an idempotent producer's id.
func TestT9_AcksFromAllReplicas(t *testing.T) {
	t.Parallel()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	var acks, producer atomic.Int64
	fake.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		fake.KeepControl()
		produce := request.(*kmsg.ProduceRequest)
		acks.Store(int64(produce.Acks))
		var batch kmsg.RecordBatch
		if batch.ReadFrom(produce.Topics[0].Partitions[0].Records) == nil {
			producer.Store(batch.ProducerID)
		}
		return nil, nil, false
	})
	producer.Store(-1)
	for _, payload := range [][]byte{[]byte("small"), make([]byte, batchLimit+1)} {
		b, err := Open(pipeline.Broker{URL: pipeline.Secret(fake.ListenAddrs()[0])}, options("orders"))
		require.NoError(t, err)
		_ = b.Publisher().Publish("orders", message.NewMessage("1", payload)) // kfake has a limit too
		require.EqualValues(t, -1, acks.Load(), "acks")
		require.NotEqual(t, int64(-1), producer.Load(), "producer id")
		require.NoError(t, b.Close())
	}
}

// sarama takes the answer OFFSET_OUT_OF_RANGE to a question for a partition's
// end for a committed offset that is gone, and jumps to the oldest message.
// What is done is not done again for that.
func TestFaults_JumpThatIsNone(t *testing.T) {
	t.Parallel()
	fake, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(1, "orders"))
	require.NoError(t, err)
	t.Cleanup(fake.Close)
	s := &saboteur{}
	fake.ControlKey(int16(kmsg.ListOffsets), func(request kmsg.Request) (kmsg.Response, error, bool) {
		return s.fail(fake, request, failListOffsets)
	})
	b, err := Open(pipeline.Broker{URL: pipeline.Secret(fake.ListenAddrs()[0])}, options("orders"))
	require.NoError(t, err)
	defer b.Close()
	sub := broker.Subscription{Name: "orders.h", Topic: pipeline.Topic{Name: "orders"}, Concurrency: 4, InFlight: 8}
	runs := newCounter()
	for round := range 2 {
		s.arm(kerr.OffsetOutOfRange, int64(2*round)) // sarama asks twice
		subscriber := broker.NewSubscriber(sub, b.Source(sub), quiet())
		messages, err := subscriber.Subscribe(context.Background(), "orders")
		require.NoError(t, err)
		for n := range 5 {
			require.NoError(t, b.Publisher().Publish("orders", message.NewMessage(fmt.Sprint(round, "-", n), nil)))
			runs.ack(receive(t, messages))
		}
		drained(t, subscriber)
	}
	require.Equal(t, 10, runs.different())
	require.Equal(t, 10, runs.total())
	require.Empty(t, b.Health().Incidents)
	require.LessOrEqual(t, s.left.Load(), int64(0), "the fault was seen")
}
