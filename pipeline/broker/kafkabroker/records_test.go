package kafkabroker

import (
	"encoding/binary"
	"io"
	"net"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// wiretap is a connection of sarama's to somebody who only listens.
type wiretap struct {
	broker *sarama.Broker
	conn   net.Conn
}

func newWiretap(t *testing.T) *wiretap {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer func() { _ = listener.Close() }()
	config := sarama.NewConfig()
	config.ApiVersionsRequest = false
	w := &wiretap{broker: sarama.NewBroker(listener.Addr().String())}
	require.NoError(t, w.broker.Open(config))
	w.conn, err = listener.Accept()
	require.NoError(t, err)
	require.NoError(t, w.conn.SetReadDeadline(time.Now().Add(time.Minute)))
	t.Cleanup(func() { _ = w.broker.Close(); _ = w.conn.Close() })
	return w
}

// sent is what sarama sends for the batch, but for the number of the request.
func (w *wiretap) sent(t require.TestingT, version int16, batch *sarama.RecordBatch) []byte {
	request := &sarama.ProduceRequest{Version: version, RequiredAcks: sarama.NoResponse}
	request.AddBatch("topic", 3, batch)
	sent := make(chan error, 1)
	go func() { sent <- w.broker.AsyncProduce(request, nil) }()
	size := make([]byte, 4)
	_, err := io.ReadFull(w.conn, size)
	require.NoError(t, err)
	b := make([]byte, binary.BigEndian.Uint32(size))
	_, err = io.ReadFull(w.conn, b)
	require.NoError(t, err)
	require.NoError(t, <-sent)
	clear(b[4:8])
	return b
}

// aRecord is a record in sarama's words.
func aRecord(t *rapid.T) *sarama.Record {
	some := func(name string) []byte {
		if rapid.Bool().Draw(t, "no "+name) {
			return nil
		}
		return make([]byte, rapid.SampledFrom([]int{0, 1, 63, 64, 8191, 8192, 100_000}).Draw(t, name))
	}
	r := &sarama.Record{Key: some("key"), Value: some("value")}
	for range rapid.IntRange(0, 70).Draw(t, "headers") {
		r.Headers = append(r.Headers, &sarama.RecordHeader{Key: []byte(rapid.String().Draw(t, "name")), Value: []byte(rapid.String().Draw(t, "text"))})
	}
	if rapid.Bool().Draw(t, "no header's value") {
		r.Headers = append(r.Headers, &sarama.RecordHeader{Key: []byte("none")})
	}
	return r
}

// encoded is the same as we have it.
func encoded(r *sarama.Record) record {
	var headers []sarama.RecordHeader
	for _, h := range r.Headers {
		headers = append(headers, *h)
	}
	return record{body: appendHeaders(appendBytes(appendBytes(nil, r.Key), r.Value), headers)}
}

// TestRecords_AsSaramaEncodes: what is sent is the same, to the last byte, as if
// sarama had encoded the records.
func TestRecords_AsSaramaEncodes(t *testing.T) {
	t.Parallel()
	w := newWiretap(t)
	rapid.Check(t, func(t *rapid.T) {
		begun := time.UnixMilli(1_700_000_000_000)
		theirs := &sarama.RecordBatch{Version: 2, FirstTimestamp: begun, ProducerID: 1, ProducerEpoch: 2, FirstSequence: 3}
		o := &outlet{pipe: &pipe{}}
		if rapid.Bool().Draw(t, "memory of another") {
			o.add(parcel{record: record{body: []byte("other")}, teller: teller{newTicket(), 0}}, begun)
			o.take().free()
		}
		many := rapid.SampledFrom([]int{0, 64, 8192}).Draw(t, "many")
		for i := range many + rapid.IntRange(1, 4).Draw(t, "records") {
			r := &sarama.Record{}
			if i >= many {
				r = aRecord(t)
			}
			if r.OffsetDelta = int64(i); i > 0 {
				r.TimestampDelta = time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "delta"))
			}
			theirs.Records = append(theirs.Records, r)
			theirs.LastOffsetDelta, theirs.MaxTimestamp = int32(i), begun.Add(r.TimestampDelta)
			o.add(parcel{record: encoded(r), teller: teller{newTicket(), 0}}, theirs.MaxTimestamp)
		}
		require.Len(t, o.packs, 1)
		require.LessOrEqual(t, len(o.packs[0].encoded), o.packs[0].size)
		version := rapid.SampledFrom([]int16{3, 8, produceV9}).Draw(t, "version")
		require.Equal(t, w.sent(t, version, theirs), w.sent(t, version, o.take().batch(1, 2, 3)))
	})
}

// TestStream_KeepsNothingOfWhoPublishes: who publishes uses the memory of its record
// again at once, also while a topic's partitions are not known yet.
func TestStream_KeepsNothingOfWhoPublishes(t *testing.T) {
	t.Parallel()
	for name, known := range map[string]bool{"partition known": true, "partition not known yet": false} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			topic := &outlets{topic: "orders", learned: time.Now(), learning: time.Now()}
			s := &stream{topics: map[string]*outlets{"orders": topic}}
			if known {
				topic.all = []*outlet{{looking: true}}
			}
			r := encoded(&sarama.Record{Key: []byte("key"), Value: []byte("value")})
			r.key = r.body[1:4]
			want := encoded(&sarama.Record{Key: []byte("key"), Value: []byte("value")})
			taken, _ := s.put("orders", parcel{record: r, teller: teller{newTicket(), 0}})
			require.True(t, taken)
			clear(r.body)
			if known {
				require.Equal(t, want.body, topic.all[0].packs[0].encoded[4:])
				return
			}
			require.Equal(t, want.body, topic.waiting[0].record.body)
			require.Equal(t, "key", string(topic.waiting[0].record.key))
		})
	}
}

// TestOpen_KnowsSarama: Open refuses a version of sarama that keeps encoded records
// elsewhere, so this has to be one that does not.
func TestOpen_KnowsSarama(t *testing.T) {
	t.Parallel()
	require.Positive(t, encodedAt, "sarama keeps encoded records elsewhere: see encodedAt")
}

// TestPack_Reset: what is used again has nothing of before, and a pack that was
// full is used again.
func TestPack_Reset(t *testing.T) {
	t.Parallel()
	fill := func(size int) *pack {
		p := &pack{begun: time.Now(), sealed: true, doubt: true}
		for r := sized(size); len(p.tellers) == 0 || p.size+r.size() <= batchLimit-batchOverhead; {
			p.add(r, teller{newTicket(), 1}, time.Now())
		}
		return p
	}
	for _, size := range []int{100, 2000, 60_000, 900_000} {
		p := fill(size)
		tellers, memory := p.tellers, &p.encoded[0]
		require.LessOrEqual(t, cap(p.encoded), 2*batchLimit)
		require.True(t, p.reset())
		require.Equal(t, pack{encoded: []byte{}, tellers: []teller{}}, *p)
		require.Equal(t, teller{}, tellers[0])
		p.add(sized(size), teller{}, time.Now())
		require.Same(t, memory, &p.encoded[0])
	}
	require.False(t, fill(2*batchLimit).reset(), "one that was large for one record")
}

// TestPartitioner_KeepsNoKey: its memory is whoever's who publishes.
func TestPartitioner_KeepsNoKey(t *testing.T) {
	t.Parallel()
	var p partitioner
	p.choose([]byte("key"), 1, 4)
	require.Nil(t, p.key)
}
