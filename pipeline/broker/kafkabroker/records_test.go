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
func (w *wiretap) sent(t require.TestingT, batch *sarama.RecordBatch) []byte {
	request := &sarama.ProduceRequest{Version: produceV9, RequiredAcks: sarama.NoResponse}
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

func aRecord(t *rapid.T) *sarama.Record {
	some := func(name string) []byte {
		if rapid.Bool().Draw(t, "no "+name) {
			return nil
		}
		return make([]byte, rapid.SampledFrom([]int{0, 1, 63, 64, 8191, 8192, 1 << 20}).Draw(t, name))
	}
	r := &sarama.Record{
		Key: some("key"), Value: some("value"),
		TimestampDelta: time.Duration(rapid.Int64Range(0, 1<<40).Draw(t, "delta")), OffsetDelta: rapid.Int64Range(0, 1<<31).Draw(t, "offset"),
	}
	for range rapid.IntRange(0, 70).Draw(t, "headers") {
		r.Headers = append(r.Headers, &sarama.RecordHeader{Key: []byte(rapid.String().Draw(t, "name")), Value: []byte(rapid.String().Draw(t, "text"))})
	}
	if rapid.Bool().Draw(t, "no header's value") {
		r.Headers = append(r.Headers, &sarama.RecordHeader{Key: []byte("none")})
	}
	return r
}

// TestRecords_AsSaramaEncodes: what is sent is the same, to the last byte, as if
// sarama had encoded the records.
func TestRecords_AsSaramaEncodes(t *testing.T) {
	t.Parallel()
	require.GreaterOrEqual(t, encodedAt, 0, "sarama keeps encoded records elsewhere: see encodedAt")
	w := newWiretap(t)
	rapid.Check(t, func(t *rapid.T) {
		p := &pack{begun: time.UnixMilli(1_700_000_000_000), latest: time.UnixMilli(1_700_000_000_001)}
		for range rapid.IntRange(1, 4).Draw(t, "records") {
			p.records = append(p.records, aRecord(t))
		}
		want := w.sent(t, p.batch(1, 2, 3))
		other, ours := &pack{records: []*sarama.Record{{Value: []byte("other")}}}, p.batch(1, 2, 3)
		pipe := &pipe{}
		pipe.encode(&request{flights: []flight{{pack: other, batch: other.batch(1, 2, 3)}, {pack: p, batch: ours}}})
		p.records[0].Value = append([]byte("never"), p.records[0].Value...) // it is not encoded again
		require.Equal(t, want, w.sent(t, ours))
	})
}

// TestPipe_Encode: the memory of a request is used again by the next, but not that
// of a batch that is larger than requests are.
func TestPipe_Encode(t *testing.T) {
	t.Parallel()
	p := &pipe{}
	flightOf := func(size int) flight {
		record := &sarama.Record{Value: make([]byte, size)}
		f := flight{pack: &pack{records: []*sarama.Record{record}, size: recordSize(record)}}
		f.batch = f.pack.batch(1, 2, 3)
		return f
	}
	r := &request{flights: []flight{flightOf(1000), flightOf(2000)}}
	p.encode(r)
	require.Equal(t, appendRecord(appendRecord(nil, r.flights[0].pack.records[0]), r.flights[1].pack.records[0]), p.encoded)
	before := &p.encoded[0]
	p.encode(&request{flights: []flight{flightOf(2 * requestLimit)}})
	p.encode(r)
	require.Same(t, before, &p.encoded[0])
	require.Less(t, cap(p.encoded), requestLimit)
}
