package kafkabroker

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/waybill-dev/waybill/pipeline"
)

// muted is a fake cluster whose brokers take produce requests and lose the
// answers, when told to.
type muted struct {
	*kfake.Cluster
	lose   atomic.Bool // the next answer where records were sent, and its connection
	silent atomic.Bool // no answer reaches anybody
}

func newMuted(t *testing.T, partitions int32) *muted {
	m := &muted{}
	var err error
	m.Cluster, err = kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(partitions, "orders"),
		kfake.ListenFn(func(network, address string) (net.Listener, error) {
			listener, err := net.Listen(network, address)
			return mutedListener{listener, m}, err
		}))
	require.NoError(t, err)
	t.Cleanup(m.Close)
	return m
}

func (m *muted) open(t *testing.T) *Broker {
	b, err := Open(pipeline.Broker{URL: pipeline.Secret(m.ListenAddrs()[0])}, options("orders"))
	require.NoError(t, err)
	t.Cleanup(func() {
		s := b.(*Broker).publisher.to.current.Load()
		require.NoError(t, b.Close())
		if s != nil {
			require.Zero(t, s.left, "each record had its result")
			require.Zero(t, s.held)
		}
	})
	return b.(*Broker)
}

type mutedListener struct {
	net.Listener
	m *muted
}

func (l mutedListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	return &mutedConn{Conn: conn, m: l.m}, err
}

type mutedConn struct {
	net.Conn
	m        *muted
	head     []byte // of the request that is being read
	left     int    // what comes of it after that
	produces atomic.Bool
}

// Read notes whether a produce request comes: other answers are not lost.
func (c *mutedConn) Read(b []byte) (int, error) {
	const head = 6 // size, and which request it is
	n, err := c.Conn.Read(b)
	for rest := b[:n]; len(rest) > 0; {
		took := min(c.left, len(rest))
		c.left, rest = c.left-took, rest[took:]
		took = min(head-len(c.head), len(rest))
		c.head, rest = append(c.head, rest[:took]...), rest[took:]
		if len(c.head) == head {
			c.left = int(binary.BigEndian.Uint32(c.head)) - 2
			if binary.BigEndian.Uint16(c.head[4:]) == uint16(kmsg.Produce) {
				c.produces.Store(true)
			}
			c.head = c.head[:0]
		}
	}
	return n, err
}

func (c *mutedConn) Write(b []byte) (int, error) {
	if c.produces.Load() && c.m.lose.CompareAndSwap(true, false) {
		_ = c.Conn.Close()
		return 0, errors.New("lost")
	}
	if c.m.silent.Load() {
		return len(b), nil
	}
	return c.Conn.Write(b)
}

// Whatever passes (no answer, and answers that say to try again) costs nobody
// anything: every record is there once, in the order of its key, and nobody who
// published it hears of it.
func TestStream_FaultsThatPass(t *testing.T) {
	t.Parallel()
	const keys, each = 8, 40
	m := newMuted(t, 4)
	passing := []int16{
		kerr.NotLeaderForPartition.Code, kerr.NotEnoughReplicas.Code, kerr.LeaderNotAvailable.Code,
		kerr.CorruptMessage.Code, kerr.KafkaStorageError.Code, kerr.UnknownTopicOrPartition.Code,
	}
	var requests, lost, failed int
	m.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		m.KeepControl()
		switch requests++; {
		case requests%5 == 0:
			lost++
			m.lose.Store(true)
		case requests%7 == 0:
			failed++
			return failProduce(request, passing[failed%len(passing)]), nil, true
		}
		return nil, nil, false
	})
	b := m.open(t)
	var publishing sync.WaitGroup
	for key := range keys {
		publishing.Go(func() {
			for n := range each {
				msg := message.NewMessage(fmt.Sprint(key, "/", n), []byte(strconv.Itoa(n)))
				msg.Metadata.Set(pipeline.MetaPartitionKey, strconv.Itoa(key))
				if err := b.Publisher().Publish("orders", msg); err != nil {
					t.Errorf("message %s: %v", msg.UUID, err)
				}
			}
		})
	}
	publishing.Wait()
	require.NotZero(t, lost)
	require.NotZero(t, failed)
	next := make(map[string]int)
	for _, record := range cluster(m.ListenAddrs()[0]).read(t, "orders", keys*each) {
		require.Equal(t, strconv.Itoa(next[string(record.Key)]), string(record.Value), "key %s", record.Key)
		next[string(record.Key)]++
	}
	newest, err := b.recordsOf("orders", 4)
	require.NoError(t, err)
	require.EqualValues(t, keys*each, newest, "none is there twice")
}

// A batch that brokers refuse takes no numbers: what comes after it is taken
// under the same identity.
func TestStream_RefusedBatch(t *testing.T) {
	t.Parallel()
	m := newMuted(t, 1)
	refuse := atomic.Bool{}
	type sent struct {
		producer int64
		first    int32
	}
	requests := make(chan sent, 10)
	m.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		m.KeepControl()
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(request.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records); err != nil {
			return nil, err, true
		}
		requests <- sent{batch.ProducerID, batch.FirstSequence}
		if refuse.CompareAndSwap(true, false) {
			return failProduce(request, kerr.InvalidRecord.Code), nil, true
		}
		return nil, nil, false
	})
	b := m.open(t)
	publish := func() error { return b.Publisher().Publish("orders", message.NewMessage("1", []byte("x"))) }
	require.NoError(t, publish())
	refuse.Store(true)
	err := publish()
	require.Equal(t, pipeline.ReasonRejected, pipeline.ReasonOf(err))
	require.NoError(t, publish())
	first, second, third := <-requests, <-requests, <-requests
	require.Equal(t, sent{first.producer, 1}, second)
	require.Equal(t, second, third)
}

// What was in doubt when it was refused is not known to be there or not. Its
// numbers are never given to another record: the next comes under a new identity.
// What waits behind it was not sent, and is not refused.
func TestStream_RefusedInDoubt(t *testing.T) {
	t.Parallel()
	m := newMuted(t, 1)
	requests := 0
	var producers []int64
	first := make(chan struct{})
	m.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		m.KeepControl()
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(request.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records); err != nil {
			return nil, err, true
		}
		producers = append(producers, batch.ProducerID)
		switch requests++; requests {
		case 1: // it has it, and says so to nobody
			close(first)
			m.lose.Store(true)
		case 2:
			return failProduce(request, kerr.InvalidRecord.Code), nil, true
		}
		return nil, nil, false
	})
	b := m.open(t)
	var publishing sync.WaitGroup
	var refused, behind error
	publishing.Go(func() { refused = b.Publisher().Publish("orders", message.NewMessage("1", []byte("1"))) })
	<-first
	behind = b.Publisher().Publish("orders", message.NewMessage("2", []byte("2")))
	publishing.Wait()
	require.Error(t, refused)
	require.False(t, pipeline.IsPermanent(refused), "it may be there: %v", refused)
	require.Error(t, behind)
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(behind), "it was never sent: %v", behind)
	require.NoError(t, b.Publisher().Publish("orders", message.NewMessage("2", []byte("2"))))
	records := cluster(m.ListenAddrs()[0]).read(t, "orders", 2)
	require.Equal(t, []byte("2"), records[1].Value, "it was not taken for the first")
	require.Len(t, producers, 3)
	require.NotEqual(t, producers[1], producers[2])
}

// A cluster that says nothing any more holds nobody up for ever, and what it
// never got comes once it speaks again.
func TestStream_Silence(t *testing.T) {
	t.Parallel()
	m := newMuted(t, 1)
	b := m.open(t)
	publish := func() error { return b.Publisher().Publish("orders", message.NewMessage("1", []byte("x"))) }
	require.NoError(t, publish())
	m.silent.Store(true)
	begun := time.Now()
	err := publish()
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err), "%v", err)
	require.NotErrorIs(t, err, context.DeadlineExceeded, "the stream says so, not its bound")
	require.Less(t, time.Since(begun), publishTime)
	m.silent.Store(false)
	require.NoError(t, publish())
}

// A partition without a leader costs the others nothing, not even one that has
// lost its connection meanwhile.
func TestStream_PartitionWithoutALeader(t *testing.T) {
	t.Parallel()
	m := newMuted(t, 2)
	host, port, err := net.SplitHostPort(m.ListenAddrs()[0])
	require.NoError(t, err)
	number, err := strconv.ParseInt(port, 10, 32)
	require.NoError(t, err)
	m.ControlKey(int16(kmsg.Metadata), func(request kmsg.Request) (kmsg.Response, error, bool) {
		m.KeepControl()
		return metadataWithout(request.(*kmsg.MetadataRequest), host, int32(number)), nil, true
	})
	var producers sync.Map
	m.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		m.KeepControl()
		var batch kmsg.RecordBatch
		if err := batch.ReadFrom(request.(*kmsg.ProduceRequest).Topics[0].Partitions[0].Records); err != nil {
			return nil, err, true
		}
		producers.Store(batch.ProducerID, true)
		return nil, nil, false
	})
	b := m.open(t)
	keyed := func(partition int) *message.Message {
		for n := 0; ; n++ {
			if key := strconv.Itoa(n); partitionOf(t, key, 2) == partition {
				return keyedMessage(key)
			}
		}
	}
	var publishing sync.WaitGroup
	publishing.Go(func() {
		err := b.Publisher().Publish("orders", keyed(1))
		if pipeline.ReasonOf(err) != pipeline.ReasonUnavailable {
			t.Errorf("without a leader: %v", err)
		}
	})
	for begun := time.Now(); time.Since(begun) < retryTime+time.Second; {
		m.lose.Store(true)
		require.NoError(t, b.Publisher().Publish("orders", keyed(0)))
		require.NoError(t, b.Publisher().Publish("orders", message.NewMessage("1", make([]byte, stickFor))), "without a key")
	}
	publishing.Wait()
	identities := 0
	producers.Range(func(any, any) bool { identities++; return true })
	require.Equal(t, 1, identities, "the stream goes on")
}

// metadataWithout answers that partition 1 has no leader.
func metadataWithout(request *kmsg.MetadataRequest, host string, port int32) kmsg.Response {
	response := request.ResponseKind().(*kmsg.MetadataResponse)
	broker := kmsg.NewMetadataResponseBroker()
	broker.Host, broker.Port = host, port
	response.Brokers = append(response.Brokers, broker)
	for _, asked := range request.Topics {
		topic := kmsg.NewMetadataResponseTopic()
		topic.Topic = asked.Topic
		if *asked.Topic != "orders" {
			topic.ErrorCode = kerr.UnknownTopicOrPartition.Code
		} else {
			for number, code := range []int16{0, kerr.LeaderNotAvailable.Code} {
				p := kmsg.NewMetadataResponseTopicPartition()
				p.Partition, p.ErrorCode, p.Leader = int32(number), code, int32(-number) //nolint:gosec // 0 and 1
				topic.Partitions = append(topic.Partitions, p)
			}
		}
		response.Topics = append(response.Topics, topic)
	}
	return response
}

// sized is a record of that size.
func sized(size int) record { return record{body: make([]byte, max(0, size-headMost))} }

// Who publishes waits while a stream has as much in hand as it may.
func TestStream_Full(t *testing.T) {
	t.Parallel()
	s := &stream{
		topics: map[string]*outlets{"orders": {topic: "orders", learning: time.Now()}}, idle: make(chan struct{}), broken: make(chan struct{}),
	}
	put := func(size int) (bool, <-chan struct{}) {
		return s.put("orders", parcel{record: sized(size), teller: teller{newTicket(), 0}})
	}
	taken, _ := put(heldBytes)
	require.True(t, taken, "one that is larger than all passes alone")
	taken, room := put(1)
	require.False(t, taken)
	s.mu.Lock()
	s.drop(s.topics["orders"], errSilent)
	s.mu.Unlock()
	<-room
	taken, _ = put(1)
	require.True(t, taken)
}

// A broker that never takes a record fails it in time, and takes the next once
// it is well.
func TestStream_GivesUp(t *testing.T) {
	t.Parallel()
	m := newMuted(t, 2)
	well := atomic.Bool{}
	m.ControlKey(int16(kmsg.Produce), func(request kmsg.Request) (kmsg.Response, error, bool) {
		m.KeepControl()
		if !well.Load() {
			return failProduce(request, kerr.NotEnoughReplicas.Code), nil, true
		}
		return nil, nil, false
	})
	b := m.open(t)
	begun := time.Now()
	err := b.Publisher().Publish("orders", message.NewMessage("1", nil), message.NewMessage("2", nil))
	require.ErrorIs(t, err, sarama.ErrNotEnoughReplicas)
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	require.GreaterOrEqual(t, time.Since(begun), retryTime)
	well.Store(true)
	require.NoError(t, b.Publisher().Publish("orders", message.NewMessage("1", nil)))
}

// A close while records are on their way, and more are coming, ends, and says
// of each what became of it.
func TestStream_Close(t *testing.T) {
	t.Parallel()
	m := newMuted(t, 4)
	opened, err := Open(pipeline.Broker{URL: pipeline.Secret(m.ListenAddrs()[0])}, options("orders"))
	require.NoError(t, err)
	var publishing sync.WaitGroup
	var confirmed atomic.Int64
	for range 16 {
		publishing.Go(func() {
			for {
				if opened.Publisher().Publish("orders", message.NewMessage("1", make([]byte, rand.IntN(1000)))) != nil { //nolint:gosec // a size
					return
				}
				confirmed.Add(1)
			}
		})
	}
	require.Eventually(t, func() bool { return confirmed.Load() > 200 }, 30*time.Second, time.Millisecond)
	require.NoError(t, opened.Close())
	publishing.Wait()
	require.GreaterOrEqual(t, len(cluster(m.ListenAddrs()[0]).read(t, "orders", int(confirmed.Load()))), int(confirmed.Load()))
}

// recordsOf is how many records a topic ever had.
func (b *Broker) recordsOf(topic string, partitions int32) (n int64, err error) {
	for p := range partitions {
		newest, err := b.offsetAt(topic, p, sarama.OffsetNewest)
		if err != nil {
			return 0, err
		}
		n += newest
	}
	return n, nil
}

func TestOutlet_Batches(t *testing.T) {
	t.Parallel()
	record := func(size int, alone bool) parcel {
		return parcel{sized(size), alone, teller{newTicket(), 0}}
	}
	o := &outlet{pipe: &pipe{}}
	now := time.Now()
	for _, p := range []parcel{record(50, false), record(50, false), record(batchLimit-batchOverhead-50, false), record(30, true), record(30, false)} {
		o.add(p, now)
	}
	var sizes []int
	for _, p := range o.packs {
		sizes = append(sizes, len(p.tellers))
	}
	require.Equal(t, []int{2, 1, 1, 1}, sizes, "up to the limit, and whoever is to be alone")
	first := o.take()
	require.False(t, o.ready(), "one at a time")
	o.flying = false
	o.add(record(30, false), now)
	o.back(first)
	require.Same(t, first, o.take(), "what came back goes first")
	require.Len(t, first.tellers, 2, "and is as it was")
}
