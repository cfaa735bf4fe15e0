package rabbitbroker

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
)

// delivered makes the frames of a delivery, with a body of frames of at most that
// size.
func delivered(t require.TestingT, channel uint16, consumer string, d *amqp.Delivery, size int) [][]byte {
	args := binary.BigEndian.AppendUint64(appendShort(nil, consumer), d.DeliveryTag)
	args = append(args, 0)
	if d.Redelivered {
		args[len(args)-1] = 1
	}
	args = appendShort(appendShort(args, d.Exchange), d.RoutingKey)
	header, err := appendHeader(nil, &amqp.Publishing{
		Headers: d.Headers, ContentType: d.ContentType, MessageId: d.MessageId, Timestamp: d.Timestamp, Priority: d.Priority, Body: d.Body,
	})
	require.NoError(t, err)
	frames := [][]byte{method(channel, methodBasicDeliver, args...), frameOf(frameHeader, channel, header)}
	for body := d.Body; len(body) > 0; {
		n := min(size, len(body))
		frames = append(frames, frameOf(frameBody, channel, body[:n]))
		body = body[n:]
	}
	return frames
}

func aDelivery(t *rapid.T, number int) *amqp.Delivery {
	d := &amqp.Delivery{
		DeliveryTag: uint64(number), Redelivered: rapid.Bool().Draw(t, "redelivered"),
		Exchange: rapid.SampledFrom([]string{"", "e", "exchange"}).Draw(t, "exchange"), RoutingKey: rapid.StringN(0, 10, 20).Draw(t, "key"),
		MessageId: rapid.StringN(0, 10, 20).Draw(t, "id"), Priority: rapid.Byte().Draw(t, "priority"),
		Headers: amqp.Table{}, Body: rapid.SliceOfN(rapid.Byte(), 0, 40).Draw(t, "body"),
	}
	for range rapid.IntRange(0, 4).Draw(t, "headers") {
		d.Headers[rapid.StringN(0, 5, 10).Draw(t, "name")] = rapid.SampledFrom([]any{"", "text", int32(7), nil, amqp.Table{"a": []any{true}}}).Draw(t, "value")
	}
	return d
}

// TestInbox_DeliveriesAreOurs: of all that comes, in whatever pieces, the consumer's
// deliveries arrive, in their order and as amqp091-go would have read them, and all
// else is read as it came: other channels', and other consumers' of the same one.
func TestInbox_DeliveriesAreOurs(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		inbox := newInbox("c")
		channels := map[uint16][][]byte{}
		var want []*amqp.Delivery
		var rest [3][]byte // by channel
		for n := range rapid.IntRange(0, 8).Draw(t, "deliveries") {
			channel := uint16(rapid.IntRange(1, 2).Draw(t, "channel"))
			consumer := rapid.SampledFrom([]string{"c", "c.barrier", ""}).Draw(t, "consumer")
			d := aDelivery(t, n+1)
			frames := delivered(t, channel, consumer, d, rapid.IntRange(1, 50).Draw(t, "size"))
			passed := frames
			if channel == 1 && consumer == "c" {
				want, passed = append(want, d), nil
			}
			if rapid.Bool().Draw(t, "something between") {
				between := method(channel, methodBasicReturn, 1, 2, 3)
				frames, passed = append(frames, between), append(passed, between)
			}
			channels[channel] = append(channels[channel], frames...)
			rest[channel] = append(rest[channel], bytes.Join(passed, nil)...)
		}
		// A channel's frames stay in their order; those of others may be between.
		var stream []byte
		for len(channels[1])+len(channels[2]) > 0 {
			channel := uint16(rapid.IntRange(1, 2).Draw(t, "next"))
			if frames := channels[channel]; len(frames) > 0 {
				stream, channels[channel] = append(stream, frames[0]...), frames[1:]
			}
		}
		pieces := io.Reader(bytes.NewReader(stream))
		if rapid.Bool().Draw(t, "byte by byte") {
			pieces = iotest.OneByteReader(pieces)
		}
		c := newTestFrameConn(pieces)
		c.register(1, inbox)
		c.told = time.Now() // no heartbeats, for now
		got, err := io.ReadAll(c)
		require.NoError(t, err)
		var passed [3][]byte
		for len(got) > 0 {
			size := frameHead + int(binary.BigEndian.Uint32(got[3:])) + 1
			channel := binary.BigEndian.Uint16(got[1:])
			passed[channel], got = append(passed[channel], got[:size]...), got[size:]
		}
		require.Equal(t, rest, passed)
		requireArrived(t, inbox, want)
	})
}

func requireArrived(t require.TestingT, inbox *inbox, want []*amqp.Delivery) {
	arrived := inbox.take(nil)
	require.Len(t, arrived, len(want))
	for i, d := range want {
		msg := decode(d)
		require.Equal(t, msg.UUID, arrived[i].msg.UUID)
		require.Equal(t, msg.Metadata, arrived[i].msg.Metadata)
		require.Equal(t, []byte(msg.Payload), []byte(arrived[i].msg.Payload))
		require.Equal(t, d.DeliveryTag, arrived[i].tag)
		require.Equal(t, d.Redelivered, arrived[i].redelivered)
	}
}

// TestInbox_Wakes: nobody waits for what is there, and what is taken is not taken
// twice.
func TestInbox_Wakes(t *testing.T) {
	t.Parallel()
	inbox := newInbox("c")
	var batch []arrival
	for n := range 3 {
		d := &amqp.Delivery{DeliveryTag: uint64(n), MessageId: "m"} //nolint:gosec // small
		c := newTestFrameConn(bytes.NewReader(bytes.Join(delivered(t, 1, "c", d, 10), nil)))
		c.register(1, inbox)
		_, err := io.ReadAll(c)
		require.NoError(t, err)
		<-inbox.wake
		batch = inbox.take(batch)
		require.Len(t, batch, 1)
		require.EqualValues(t, n, batch[0].tag)
		require.Empty(t, inbox.wake)
	}
	require.Empty(t, inbox.take(batch))
}

// TestInbox_LastChannel: a channel that has the number of one that was closed is
// another, and its deliveries are not the old consumer's.
func TestInbox_LastChannel(t *testing.T) {
	t.Parallel()
	inbox := newInbox("c")
	frames := bytes.Join(delivered(t, 1, "c", &amqp.Delivery{MessageId: "m", Body: []byte("x")}, 10), nil)
	c := newTestFrameConn(bytes.NewReader(append(method(1, methodChannelOpenOK, 0, 0, 0, 0), frames...)))
	c.register(1, inbox)
	c.told = time.Now()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.True(t, bytes.HasSuffix(got, frames))
	require.Empty(t, inbox.take(nil))
	require.EqualValues(t, 1, c.opened)
}

// TestInbox_Interrupted: of a delivery that another method interrupts nothing
// arrives, as with amqp091-go.
func TestInbox_Interrupted(t *testing.T) {
	t.Parallel()
	inbox := newInbox("c")
	whole := delivered(t, 1, "c", &amqp.Delivery{MessageId: "m", Body: []byte("body")}, 2)
	rest := bytes.Join([][]byte{method(1, methodBasicReturn, 1), whole[1], whole[2], whole[3]}, nil)
	c := newTestFrameConn(bytes.NewReader(append(bytes.Clone(whole[0]), rest...)))
	c.register(1, inbox)
	c.told = time.Now()
	got, err := io.ReadAll(c)
	require.NoError(t, err)
	require.Equal(t, rest, got)
	require.Empty(t, inbox.take(nil))
}

// TestFrameConn_Forgets: who heard a channel that was closed, by whomever, is not
// kept with all that came on it.
func TestFrameConn_Forgets(t *testing.T) {
	t.Parallel()
	for _, end := range []uint32{methodChannelClose, methodChannelCloseOK} {
		c := newTestFrameConn(bytes.NewReader(method(1, end, make([]byte, 7)...)))
		c.register(1, newInbox("c"))
		c.register(2, newInbox("c"))
		_, err := io.ReadAll(c)
		require.NoError(t, err)
		require.Nil(t, c.hearerOf(1))
		require.NotNil(t, c.hearerOf(2))
	}
}

// TestInbox_Broken: what is not as AMQP says ends the connection, and takes no
// memory for what has not come.
func TestInbox_Broken(t *testing.T) {
	t.Parallel()
	d := &amqp.Delivery{Exchange: "e", RoutingKey: "k", MessageId: "m", Headers: amqp.Table{"a": "b"}, Body: []byte("body")}
	whole := delivered(t, 1, "c", d, 10)
	deep := amqp.Table{}
	for range maxDepth + 1 {
		deep = amqp.Table{"in": deep}
	}
	change := func(frame int, f func([]byte) []byte) [][]byte {
		frames := bytes.Split(bytes.Join(whole, []byte("|cut|")), []byte("|cut|")) // a copy
		frames[frame] = f(frames[frame])
		return frames
	}
	cut := func(b []byte) []byte { // shorter, and says so
		b = append(bytes.Clone(b[:len(b)-5]), frameEnd)
		binary.BigEndian.PutUint32(b[3:], binary.BigEndian.Uint32(b[3:])-4)
		return b
	}
	noEnd := func(b []byte) []byte { b[len(b)-1] = 0; return b }
	for name, frames := range map[string][][]byte{
		"MethodCut":    change(0, cut),
		"MethodNoEnd":  change(0, noEnd),
		"MethodLong":   {method(1, methodBasicDeliver, make([]byte, 1000)...)},
		"MethodShort":  {method(1, methodBasicDeliver, appendShort(nil, "c")...)},
		"HeaderCut":    change(1, cut),
		"HeaderNoEnd":  change(1, noEnd),
		"HeaderLetter": change(1, func(b []byte) []byte { return bytes.Replace(b, []byte("S"), []byte("?"), 1) }),
		"HeaderDeep":   delivered(t, 1, "c", &amqp.Delivery{Headers: deep}, 10),
		"BodyNoEnd":    change(2, noEnd),
		"BodyLong":     append(whole[:2:2], frameOf(frameBody, 1, []byte("too long"))),
		"NoHeader":     {whole[0], whole[2]},
		"Kind":         append(whole[:2:2], frameOf(7, 1, nil)),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			inbox := newInbox("c")
			c := newTestFrameConn(bytes.NewReader(bytes.Join(frames, nil)))
			c.register(1, inbox)
			_, err := io.ReadAll(c)
			require.ErrorIs(t, err, errFrame)
			require.Empty(t, inbox.take(nil))
		})
	}
	t.Run("Huge", func(t *testing.T) {
		t.Parallel()
		inbox := newInbox("c")
		header := change(1, func(b []byte) []byte { binary.BigEndian.PutUint64(b[frameHead+4:], 1<<62); return b })[1]
		c := newTestFrameConn(bytes.NewReader(bytes.Join([][]byte{whole[0], header, {frameBody, 0, 1, 0xff, 0xff, 0xff, 0xff}}, nil)))
		c.register(1, inbox)
		_, err := io.ReadAll(c)
		require.NoError(t, err)
		require.LessOrEqual(t, cap(inbox.coming.Body), 2*step)
	})
}

// TestParser_ManyHeaders: as in a map, of two headers of one name the last counts,
// however many there are.
func TestParser_ManyHeaders(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, fewFields - 1, fewFields, fewFields + 1, 10 * fewFields} {
		want := amqp.Table{}
		var pairs []byte
		for i := range n {
			name, value := fmt.Sprint("h", i/2), any(fmt.Sprint("v", i))
			if i%3 == 0 {
				value = int32(i) //nolint:gosec // small
			}
			want[name] = value
			var err error
			pairs, err = appendField(appendShort(pairs, name), value)
			require.NoError(t, err)
		}
		p := parser{left: string(append(binary.BigEndian.AppendUint32(nil, uint32(len(pairs))), pairs...))} //nolint:gosec // small
		fields := p.fields(nil)
		require.False(t, p.bad)
		require.Equal(t, decode(&amqp.Delivery{MessageId: "m", Headers: want}).Metadata, decodeWith(&amqp.Delivery{MessageId: "m"}, fields).Metadata)
		require.Len(t, fields, len(want))
	}
}

// FuzzParser: whatever comes, it is read or refused, in bounded depth.
func FuzzParser(f *testing.F) {
	for _, headers := range []amqp.Table{nil, typedHeaders()} {
		header, err := appendHeader(nil, &amqp.Publishing{Headers: headers, ContentType: "a", MessageId: "b", Timestamp: time.Unix(1, 0)})
		require.NoError(f, err)
		f.Add(header)
	}
	f.Fuzz(func(t *testing.T, header []byte) {
		p := parser{left: string(header)}
		var d amqp.Delivery
		_, fields := p.header(&d, nil)
		if !p.bad {
			require.NotNil(t, decodeWith(&d, fields))
		}
	})
}

// TestInbox_AsReadByAnother: a message arrives as amqp091-go reads it: headers of
// every type, properties, and bodies around what a frame holds.
func TestInbox_AsReadByAnother(t *testing.T) {
	t.Parallel()
	f := setup(t)
	read := f.topic("read", func(t *pipeline.Topic) { t.Rabbit.QueueType = "classic" })
	other := f.topic("other", func(t *pipeline.Topic) { t.Rabbit.QueueType = "classic" })
	sub := f.sub(read, pipeline.OrderingNone, 1)
	f.provision(sub)
	arrived := make(chan *message.Message)
	c := f.consume(f.b, sub, func(msg *message.Message) bool { arrived <- msg; return true })
	defer c.drain()
	same := func(t require.TestingT, p amqp.Publishing) {
		p.MessageId = "m"
		f.foreign("", layoutOf(read).queues(sub)[0], p)
		f.foreign("", other.Name, p)
		want, got := f.take(other.Name), <-arrived
		msg := decode(&want)
		require.Equal(t, msg.UUID, got.UUID)
		require.Equal(t, msg.Metadata, got.Metadata)
		require.Equal(t, []byte(msg.Payload), []byte(got.Payload), "an empty one is none that is not there")
	}
	const most = 128<<10 - frameHead - 1
	for _, size := range []int{0, 1, most - 1, most, most + 1, 2*most + 1, 3 << 20} {
		same(t, amqp.Publishing{Body: []byte(strings.Repeat("x", size))})
	}
	same(t, amqp.Publishing{
		ContentType: "a", ContentEncoding: "b", DeliveryMode: 1, Priority: 9, CorrelationId: "c", ReplyTo: "d", Expiration: "60000",
		Timestamp: time.Unix(1_700_000_000, 0), Type: "f", UserId: "guest", AppId: strings.Repeat("g", 255),
		Headers: amqp.Table(typedHeaders()), Body: []byte("x"),
	})
	rapid.Check(t, func(t *rapid.T) {
		data := rapid.SliceOf(rapid.Byte()).Draw(t, "headers")
		p := amqp.Publishing{Headers: (&tableMaker{data: data}).table(0), Body: data}
		delete(p.Headers, headerCC)
		delete(p.Headers, headerBCC)
		same(t, p)
	})
}

// TestConnection_ChannelsAtOnce: who opens a channel learns its number, whoever
// else opens one.
func TestConnection_ChannelsAtOnce(t *testing.T) {
	t.Parallel()
	f := setup(t)
	conn, err := f.b.consume.connection(f.ctx())
	require.NoError(t, err)
	const n = 20
	numbers := make(chan uint16, n)
	for range n {
		go func() {
			_, number, err := conn.channel()
			if err != nil {
				number = 0
			}
			numbers <- number
		}()
	}
	seen := map[uint16]bool{0: true}
	for range n {
		number := <-numbers
		require.False(t, seen[number], number)
		seen[number] = true
	}
}
