package rabbitbroker

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"io"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
)

// frameOf makes one.
func frameOf(kind byte, channel uint16, content []byte) []byte {
	b, at := beginFrame(nil, kind, channel)
	return endFrame(append(b, content...), at)
}

// method makes the frame of a method.
func method(channel uint16, id uint32, args ...byte) []byte {
	return frameOf(frameMethod, channel, append(binary.BigEndian.AppendUint32(nil, id), args...))
}

const methodBasicReturn = 60<<16 | 50

func newTestFrameConn(r io.Reader) *frameConn {
	return &frameConn{
		bufferedConn: &bufferedConn{reads: bufio.NewReader(r), wake: make(chan struct{}, 1)},
		hearers:      make(map[uint16]hearer),
	}
}

func confirmOf(channel uint16, number int) []byte {
	return method(channel, methodBasicAck, append(binary.BigEndian.AppendUint64(nil, uint64(number)), 0)...)
}

// TestFrameConn_ConfirmsAreOurs: of all that comes, in whatever pieces, the
// confirms of the channel in confirm mode are kept, in their order, and all else is
// read as it came. A confirm is heard when all that came before it was read.
func TestFrameConn_ConfirmsAreOurs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		const n = 30
		hears, to := newTestConfirmer(n)
		c := newTestFrameConn(nil)
		c.told = time.Now() // no heartbeats, for now
		c.register(3, hears)
		var stream, rest []byte
		var before []int // how much was to be read before each confirm
		for range rapid.IntRange(0, n).Draw(t, "frames") {
			var f []byte
			switch rapid.IntRange(0, 4).Draw(t, "kind") {
			case 0:
				before = append(before, len(rest))
				stream = append(stream, confirmOf(3, len(before))...)
				continue
			case 1:
				f = confirmOf(2, 1) // of another channel
			case 2:
				f = heartbeatFrame
			case 3:
				f = method(3, methodBasicReturn)
			default:
				content := rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "content")
				f = frameOf(byte(rapid.IntRange(2, 3).Draw(t, "type")), 3, content)
			}
			stream, rest = append(stream, f...), append(rest, f...)
		}
		pieces := io.Reader(bytes.NewReader(stream))
		if rapid.Bool().Draw(t, "byte by byte") {
			pieces = iotest.OneByteReader(pieces)
		}
		c.bufferedConn = &bufferedConn{reads: bufio.NewReaderSize(pieces, 64)}
		var got []byte
		confirms := 0
		for {
			p := make([]byte, rapid.IntRange(1, 50).Draw(t, "room"))
			read, err := c.Read(p)
			for range len(to) {
				<-to
				require.Len(t, got, before[confirms])
				confirms++
			}
			got = append(got, p[:read]...)
			if err != nil {
				require.ErrorIs(t, err, io.EOF)
				break
			}
		}
		require.Equal(t, rest, got)
		require.Equal(t, len(before), confirms)
	})
}

// TestFrameConn_NothingAfterClose: nothing is sent on a channel once amqp091-go
// reads that RabbitMQ has closed it: after the answer to that it would cost the
// connection.
func TestFrameConn_NothingAfterClose(t *testing.T) {
	t.Parallel()
	hears, _ := newTestConfirmer(0)
	c := newTestFrameConn(bytes.NewReader(append(method(3, methodBasicReturn), method(3, methodChannelClose, make([]byte, 7)...)...)))
	hears.conn = c
	c.register(3, hears)
	send := func() bool {
		f := &flight{out: &outgoing{}}
		return hears.room.TryAcquire(f.out.charge()) && hears.send(f)
	}
	_, err := io.ReadFull(c, make([]byte, len(method(3, methodBasicReturn))))
	require.NoError(t, err)
	require.True(t, send())
	_, err = c.Read(make([]byte, 1))
	require.NoError(t, err)
	require.False(t, send())
	f := &flight{out: &outgoing{}}
	require.True(t, hears.room.TryAcquire(roomBytes-f.out.charge()), "what was not sent takes no room")
}

// TestFrameConn_OnlyConfirms: where nothing but confirms comes for longer than
// the heartbeats after which amqp091-go gives a connection up, it stays: RabbitMQ
// sends none while it is busy.
func TestFrameConn_OnlyConfirms(t *testing.T) {
	t.Parallel()
	s := shared(t)
	u, err := url.Parse(s.url)
	require.NoError(t, err)
	u.RawQuery = "heartbeat=1"
	s.url = u.String()
	f := setupOn(t, s)
	topic := f.topic("out", func(t *pipeline.Topic) { t.Rabbit.QueueType = "classic" })
	f.provision()
	f.mustPublish(topic, text("first", "x"))
	to := make(answers, 1)
	for end := time.Now().Add(4 * time.Second); time.Now().Before(end); {
		require.True(t, f.b.Start(topic.Name, text("m", "x"), to, 0))
		require.Equal(t, answer{0, nil}, to.next(t))
	}
	require.NotContains(t, f.log.String(), "lost")

	// When they stop RabbitMQ may take a heartbeat until it sends the first, and
	// amqp091-go waits for one and a half. The shortest is a second.
	require.Less(t, aliveEvery, time.Second/4)
}

// TestFrames_AsReadByAnother: what is written past amqp091-go, RabbitMQ and
// amqp091-go read: headers of every type, properties, and bodies around what a
// frame holds.
func TestFrames_AsReadByAnother(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("out", func(t *pipeline.Topic) { t.Rabbit.QueueType = "classic" })
	f.provision()
	f.mustPublish(topic, text("first", "x"))
	require.Equal(t, "first", f.take(topic.Name).MessageId)
	f.b.publisher.mu.Lock()
	c := f.b.publisher.current
	f.b.publisher.mu.Unlock()
	most := c.frameMax - frameHead - 1
	sent := func(t require.TestingT, out *outgoing) amqp.Delivery {
		w := make(waiter, 1)
		require.True(t, c.room.TryAcquire(out.charge()))
		require.True(t, c.send(&flight{out: out, to: w}))
		require.NoError(t, <-w)
		return f.take(topic.Name)
	}
	for _, size := range []int{0, 1, most - 1, most, most + 1, 2*most + 1} {
		out, err := encode(layoutOf(topic), text("m", strings.Repeat("x", size)))
		require.NoError(t, err)
		require.Len(t, sent(t, out).Body, size)
	}
	properties := amqp.Publishing{
		ContentType: "a", ContentEncoding: "b", DeliveryMode: 2, Priority: 9, CorrelationId: "c", ReplyTo: "d", Expiration: "60000",
		MessageId: "e", Timestamp: time.Unix(1_700_000_000, 0), Type: "f", UserId: "guest", AppId: strings.Repeat("g", 255),
		Headers: amqp.Table(typedHeaders()), Body: []byte("x"),
	}
	rapid.Check(t, func(t *rapid.T) {
		p := properties
		if data := rapid.SliceOf(rapid.Byte()).Draw(t, "headers"); len(data) > 0 {
			p = amqp.Publishing{Headers: (&tableMaker{data: data}).table(0), Body: data}
			delete(p.Headers, headerCC)
			delete(p.Headers, headerBCC)
		}
		header, err := appendHeader(nil, &p)
		require.NoError(t, err)
		d := sent(t, &outgoing{exchange: topic.Name, Publishing: p, header: header})
		if len(p.Headers) > 0 {
			requireSame(t, p.Headers, d.Headers)
		}
		got := amqp.Publishing{
			Headers: p.Headers, ContentType: d.ContentType, ContentEncoding: d.ContentEncoding, DeliveryMode: d.DeliveryMode,
			Priority: d.Priority, CorrelationId: d.CorrelationId, ReplyTo: d.ReplyTo, Expiration: d.Expiration,
			MessageId: d.MessageId, Timestamp: d.Timestamp, Type: d.Type, UserId: d.UserId, AppId: d.AppId, Body: d.Body,
		}
		require.Equal(t, p, got)
	})
}
