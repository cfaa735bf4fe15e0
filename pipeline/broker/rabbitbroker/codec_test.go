package rabbitbroker

import (
	"math"
	"strings"
	"testing"
	"time"

	stock "github.com/ThreeDotsLabs/watermill-amqp/v3/pkg/amqp"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

var anyTopic = layoutOf(pipeline.Topic{Name: "t"})

// arrive is what the broker makes of a published message.
func arrive(p amqp.Publishing) *amqp.Delivery {
	return &amqp.Delivery{
		Headers: p.Headers, ContentType: p.ContentType, ContentEncoding: p.ContentEncoding,
		DeliveryMode: p.DeliveryMode, Priority: p.Priority, CorrelationId: p.CorrelationId, ReplyTo: p.ReplyTo,
		Expiration: p.Expiration, MessageId: p.MessageId, Timestamp: p.Timestamp, Type: p.Type,
		UserId: p.UserId, AppId: p.AppId, Body: p.Body, Exchange: "t", RoutingKey: "t",
	}
}

func again(t *testing.T, d *amqp.Delivery) *outgoing {
	t.Helper()
	out, err := encode(anyTopic, decode(d))
	require.NoError(t, err)
	return out
}

// TestCodec_Golden pins what is on the wire.
func TestCodec_Golden(t *testing.T) {
	t.Parallel()
	msg := message.NewMessage("id-1", []byte(`{"a":1}`))
	msg.Metadata = message.Metadata{
		"k": "v", pipeline.MetaCorrelationID: "c-1", pipeline.MetaContentType: "application/json",
		MetaPriority: "5", MetaRoutingKey: "special",
	}
	out, err := encode(anyTopic, msg)
	require.NoError(t, err)
	require.Equal(t, "t", out.exchange)
	require.Equal(t, "special", out.key)
	require.Equal(t, amqp.Publishing{
		Headers: amqp.Table{
			"_watermill_message_uuid": "id-1", "k": "v", "correlationid": "c-1", "content-type": "application/json",
		},
		MessageId: "id-1", CorrelationId: "c-1", ContentType: "application/json", Priority: 5,
		DeliveryMode: amqp.Persistent, Body: []byte(`{"a":1}`),
	}, out.Publishing)
}

// TestCodec_Stock: watermill-amqp reads what we write, and the reverse, to the
// last byte and key.
func TestCodec_Stock(t *testing.T) {
	t.Parallel()
	msg := message.NewMessage("id-1", []byte{0, 1, 0xff})
	msg.Metadata = message.Metadata{"k": "v", "empty": "", "Ærlig": "\"x\"\n", pipeline.MetaCorrelationID: "c-1"}

	ours, err := encode(anyTopic, msg)
	require.NoError(t, err)
	theirs, err := stock.DefaultMarshaler{}.Unmarshal(*arrive(ours.Publishing))
	require.NoError(t, err)
	require.True(t, theirs.Equals(msg), "%v", theirs.Metadata)

	published, err := stock.DefaultMarshaler{}.Marshal(msg)
	require.NoError(t, err)
	require.Equal(t, ours.Headers, published.Headers)
	require.Equal(t, ours.Body, published.Body)
	require.Equal(t, ours.DeliveryMode, published.DeliveryMode)
	require.True(t, decode(arrive(published)).Equals(msg))
}

// TestCodec_TypedHeaders: every AMQP type comes out as it came in, and reads
// well in between.
func TestCodec_TypedHeaders(t *testing.T) {
	t.Parallel()
	at := time.Unix(1_700_000_000, 0).UTC()
	headers := amqp.Table{
		"t": true, "b": int8(-1), "B": byte(200), "s": int16(-300), "u": uint16(65535), "I": int32(-7), "i": uint32(1 << 31),
		"l": int64(math.MinInt64), "f": float32(0.1), "d": math.Pi, "inf": math.Inf(-1),
		"D": amqp.Decimal{Scale: 2, Value: -5}, "T": at, "S": "text", "x": []byte("plain"), "x64": []byte{0xff, 0}, "V": nil,
		"F": amqp.Table{
			"n": int32(1), "s": "\xff", "t": at, "\xfe": true, "deep": []any{nil, "a\"<b>", amqp.Table{}, []any{}, []byte{0xff}, math.NaN()},
		},
		"A": []any{int64(1), amqp.Decimal{Scale: 3, Value: 1}, float32(2)},
	}
	msg := decode(&amqp.Delivery{MessageId: "m", Headers: headers})
	for name, text := range map[string]string{
		"t": "true", "B": "200", "l": "-9223372036854775808", "f": "0.1", "D": "-0.05", "T": "2023-11-14T22:13:20Z",
		"x": "plain", "x64": "/wA=", "V": "", "A": "[1,0.001,2]",
	} {
		require.Equal(t, text, msg.Metadata[name], name)
	}
	out, err := encode(anyTopic, msg)
	require.NoError(t, err)
	delete(out.Headers, headerID)
	requireSame(t, headers, out.Headers)
	require.NotContains(t, out.Headers, broker.MetaWire)
}

// requireSame is Equal, for which NaN is NaN, and a time is the same anywhere.
func requireSame(t require.TestingT, want, got amqp.Table) {
	require.Equal(t, noNaN(want), noNaN(got))
}

func noNaN(v any) any {
	switch v := v.(type) {
	case amqp.Table:
		out := amqp.Table{}
		for k, inner := range v {
			out[k] = noNaN(inner)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = noNaN(inner)
		}
		return out
	case time.Time:
		return v.UTC()
	case float64:
		if v != v {
			return "NaN"
		}
	case float32:
		if v != v {
			return "NaN32"
		}
	}
	return v
}

// TestCodec_EditedText: a handler may change a typed header's text; what is
// not of the type any more goes out as text.
func TestCodec_EditedText(t *testing.T) {
	t.Parallel()
	msg := decode(&amqp.Delivery{Headers: amqp.Table{"n": int32(1), "m": int32(2), "gone": true, "F": amqp.Table{"a": int32(1)}}})
	msg.Metadata["n"], msg.Metadata["m"], msg.Metadata["F"] = "42", "many", `{"b":1}`
	delete(msg.Metadata, "gone")
	out, err := encode(anyTopic, msg)
	require.NoError(t, err)
	require.Equal(t, int32(42), out.Headers["n"])
	require.Equal(t, "many", out.Headers["m"])
	require.Equal(t, `{"b":1}`, out.Headers["F"])
	require.NotContains(t, out.Headers, "gone")
}

// TestCodec_Properties: AMQP properties survive, but not those that would
// make a dead letter expire or be refused; nothing becomes a header that was
// none.
func TestCodec_Properties(t *testing.T) {
	t.Parallel()
	d := &amqp.Delivery{
		ContentType: "application/json", ContentEncoding: "gzip", DeliveryMode: amqp.Transient, Priority: 9,
		CorrelationId: "c", ReplyTo: "r", Expiration: "1000", MessageId: "m", Timestamp: time.Unix(1_700_000_000, 0),
		Type: "task", UserId: "guest", AppId: "app", Body: []byte("x"),
	}
	msg := decode(d)
	require.Equal(t, "m", msg.UUID)
	require.Equal(t, "c", msg.Metadata[pipeline.MetaCorrelationID])
	require.Equal(t, "task", msg.Metadata[MetaType])
	require.Equal(t, "9", msg.Metadata[MetaPriority])
	require.Equal(t, "2023-11-14T22:13:20Z", msg.Metadata[MetaTimestamp])

	out := again(t, d)
	want := amqp.Publishing{
		Headers:     amqp.Table{headerID: "m", MetaExpiration: "1000", MetaUserID: "guest", MetaDeliveryMode: "1"},
		ContentType: "application/json", ContentEncoding: "gzip", DeliveryMode: amqp.Persistent, Priority: 9,
		CorrelationId: "c", ReplyTo: "r", MessageId: "m", Timestamp: time.Unix(1_700_000_000, 0).UTC(),
		Type: "task", AppId: "app", Body: []byte("x"),
	}
	require.Equal(t, want, out.Publishing)
	require.Equal(t, want, again(t, arrive(out.Publishing)).Publishing, "and once more")

	msg.Metadata[pipeline.MetaContentType] = "text/plain" // a handler changes it
	changed, err := encode(anyTopic, msg)
	require.NoError(t, err)
	require.Equal(t, "text/plain", changed.ContentType)
}

// TestCodec_PropertyAndHeaderOfOneName: both are kept.
func TestCodec_PropertyAndHeaderOfOneName(t *testing.T) {
	t.Parallel()
	d := &amqp.Delivery{
		ContentType: "a", Type: "property", MessageId: "m",
		Headers: amqp.Table{"content-type": "b", MetaType: "header", MetaPriority: int32(3)},
	}
	out := again(t, d)
	require.Equal(t, "a", out.ContentType)
	require.Equal(t, "property", out.Type)
	require.Zero(t, out.Priority)
	delete(out.Headers, headerID)
	require.Equal(t, d.Headers, out.Headers)
}

// TestCodec_IDs: design §4, Ids.
func TestCodec_IDs(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		d    amqp.Delivery
		want string
	}{
		"Header":           {amqp.Delivery{Headers: amqp.Table{headerID: "a", "ce_id": "c"}, MessageId: "b"}, "a"},
		"Empty":            {amqp.Delivery{Headers: amqp.Table{headerID: ""}, MessageId: "b"}, "b"},
		"Number":           {amqp.Delivery{Headers: amqp.Table{headerID: int32(7)}}, "7"},
		"MessageId":        {amqp.Delivery{Headers: amqp.Table{"ce_id": "c"}, MessageId: "b"}, "b"},
		"CloudEvents":      {amqp.Delivery{Headers: amqp.Table{"ce_id": "c"}}, "c"},
		"CloudEventsAMQP":  {amqp.Delivery{Headers: amqp.Table{"cloudEvents_id": "d"}}, "d"},
		"CloudEventsColon": {amqp.Delivery{Headers: amqp.Table{"cloudEvents:id": "e"}}, "e"},
	} {
		msg := decode(&test.d)
		require.Equal(t, test.want, msg.UUID, name)
		require.NotContains(t, msg.Metadata, pipeline.MetaIDSource, name)
	}
	one := decode(&amqp.Delivery{Exchange: "e", RoutingKey: "k", Body: []byte("x")})
	require.Len(t, one.UUID, 64)
	require.Equal(t, pipeline.IDSourceContent, one.Metadata[pipeline.MetaIDSource])
	require.Equal(t, one.UUID, decode(&amqp.Delivery{Exchange: "e", RoutingKey: "k", Body: []byte("x"), Redelivered: true}).UUID)
	for _, other := range []amqp.Delivery{
		{Exchange: "f", RoutingKey: "k", Body: []byte("x")}, {Exchange: "e", RoutingKey: "kx"}, {Exchange: "e", RoutingKey: "k", Body: []byte("y")},
	} {
		require.NotEqual(t, one.UUID, decode(&other).UUID)
	}
}

// TestCodec_ForeignMessageID: the message-id of a message that has an id of
// Watermill's is kept.
func TestCodec_ForeignMessageID(t *testing.T) {
	t.Parallel()
	msg := decode(&amqp.Delivery{MessageId: "other", Headers: amqp.Table{headerID: "ours"}})
	require.Equal(t, "ours", msg.UUID)
	require.Equal(t, "other", msg.Metadata[MetaMessageID])
}

// TestCodec_BrokersOwnHeaders: what RabbitMQ adds is not the message's; what
// it would act on is not sent; x-death is left as it is.
func TestCodec_BrokersOwnHeaders(t *testing.T) {
	t.Parallel()
	death := []any{amqp.Table{"count": int64(3), "queue": "q", "time": time.Unix(1_700_000_000, 0).UTC()}}
	d := &amqp.Delivery{MessageId: "m", Headers: amqp.Table{
		"x-delivery-count": int64(4), "CC": []any{"other"}, "BCC": []any{"secret"}, "x-death": death,
	}}
	msg := decode(d)
	require.NotContains(t, msg.Metadata, "x-delivery-count")
	require.Equal(t, `[{"count":3,"queue":"q","time":"2023-11-14T22:13:20Z"}]`, msg.Metadata["x-death"])
	require.Equal(t, amqp.Table{
		headerID: "m", "amqp_cc": []any{"other"}, "amqp_bcc": []any{"secret"}, "x-death": death,
	}, again(t, d).Headers)
}

// TestCodec_OtherDriversWire: what another driver keeps of a message passes
// through, and our own never does.
func TestCodec_OtherDriversWire(t *testing.T) {
	t.Parallel()
	d := &amqp.Delivery{MessageId: "m", Headers: amqp.Table{broker.MetaWire: `{"kafka":{"x":[1]}}`, "n": int32(1)}}
	msg := decode(d)
	require.JSONEq(t, `{"kafka":{"x":[1]},"amqp":{"h":{"n":"I"}}}`, msg.Metadata[broker.MetaWire])
	out := again(t, d)
	require.Equal(t, `{"kafka":{"x":[1]}}`, out.Headers[broker.MetaWire])
	require.Equal(t, int32(1), out.Headers["n"])

	for _, broken := range []any{"not JSON", `[]`, `{"amqp":7}`, `{"amqp":{"h":{"n":["?"],"m":{"a":1}}}}`, int32(5)} {
		out := again(t, &amqp.Delivery{MessageId: "m", Headers: amqp.Table{broker.MetaWire: broken, "n": "text", "m": "{}"}})
		require.Equal(t, "text", out.Headers["n"])
	}
}

// TestCodec_WhatWouldBreakTheConnection is refused instead.
func TestCodec_WhatWouldBreakTheConnection(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 300)
	msg := message.NewMessage(long, nil) // a property may be missing, a header may be long
	msg.Metadata.Set(pipeline.MetaCorrelationID, long)
	out, err := encode(anyTopic, msg)
	require.NoError(t, err)
	require.Empty(t, out.MessageId)
	require.Empty(t, out.CorrelationId)
	require.Equal(t, long, out.Headers[headerID])
	require.Equal(t, long, out.Headers[pipeline.MetaCorrelationID])

	for _, name := range []string{MetaRoutingKey, long} {
		msg := message.NewMessage("m", nil)
		msg.Metadata.Set(name, long)
		_, err := encode(anyTopic, msg)
		require.Error(t, err)
		require.True(t, pipeline.IsPermanent(err))
		require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
	}
}

// FuzzTypedHeaders: a table of any types comes out of metadata as it went in.
func FuzzTypedHeaders(f *testing.F) {
	for _, seed := range []string{"", "\x00abc", "F\x02A\x03tsS\x05hello", "\x10\x11\x12\x13\x0e\x0f\x01\x02\xff\xfe\x80"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		headers := (&tableMaker{data: data}).table(0)
		for _, name := range []string{headerID, headerCount, headerCC, headerBCC, metaCC, metaBCC, broker.MetaWire, MetaRoutingKey} {
			delete(headers, name)
		}
		msg := decode(&amqp.Delivery{MessageId: "m", Headers: headers})
		out, err := encode(anyTopic, msg)
		require.NoError(t, err)
		delete(out.Headers, headerID)
		requireSame(t, headers, out.Headers)
	})
}

// tableMaker makes tables of bytes.
type tableMaker struct{ data []byte }

func (m *tableMaker) next() byte {
	if len(m.data) == 0 {
		return 0
	}
	b := m.data[0]
	m.data = m.data[1:]
	return b
}

func (m *tableMaker) bytes(n int) []byte {
	n = min(n, len(m.data))
	b := m.data[:n:n]
	m.data = m.data[n:]
	return append([]byte{}, b...)
}

func (m *tableMaker) int() int64 {
	var n int64
	for range 8 {
		n = n<<8 | int64(m.next())
	}
	return n
}

func (m *tableMaker) table(depth int) amqp.Table {
	table := amqp.Table{}
	for range m.next() % 8 {
		table[string(m.bytes(int(m.next()%12)))] = m.value(depth + 1)
	}
	return table
}

func (m *tableMaker) value(depth int) any {
	switch kind := m.next() % 18; {
	case kind == 0 && depth < 4:
		return m.table(depth)
	case kind == 1 && depth < 4:
		list := make([]any, m.next()%5)
		for i := range list {
			list[i] = m.value(depth + 1)
		}
		return list
	case kind == 2:
		return m.next()%2 == 0
	case kind == 3:
		return int8(m.next())
	case kind == 4:
		return m.next()
	case kind == 5:
		return int16(m.int())
	case kind == 6:
		return uint16(m.int())
	case kind == 7:
		return int32(m.int())
	case kind == 8:
		return uint32(m.int())
	case kind == 9:
		return m.int()
	case kind == 10:
		return math.Float32frombits(uint32(m.int()))
	case kind == 11:
		return math.Float64frombits(uint64(m.int()))
	case kind == 12:
		return amqp.Decimal{Scale: m.next(), Value: int32(m.int())}
	case kind == 13:
		return time.Unix(m.int(), 0).UTC()
	case kind == 14:
		return m.bytes(int(m.next()))
	case kind == 15:
		return nil
	}
	return string(m.bytes(int(m.next())))
}
