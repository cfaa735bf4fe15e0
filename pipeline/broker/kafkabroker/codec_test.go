package kafkabroker

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"testing"
	"unicode/utf8"

	"github.com/IBM/sarama"
	wmkafka "github.com/ThreeDotsLabs/watermill-kafka/v3/pkg/kafka"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

var keyed = pipeline.Topic{Name: "orders", Key: []string{"/orderId", "/id"}}

// received is what a consumer gets of a record that was produced.
func received(t require.TestingT, r record) *sarama.ConsumerMessage {
	rest := r.body
	number := func() int {
		n, size := binary.Varint(rest)
		require.Positive(t, size)
		rest = rest[size:]
		return int(n)
	}
	next := func() []byte {
		n := number()
		if n < 0 {
			return nil
		}
		b := rest[:n:n]
		rest = rest[n:]
		return b
	}
	m := &sarama.ConsumerMessage{Partition: 3, Offset: 42, Key: next(), Value: next()}
	for n := number(); n > 0; n-- {
		m.Headers = append(m.Headers, &sarama.RecordHeader{Key: next(), Value: next()})
	}
	require.Empty(t, rest)
	require.Equal(t, m.Key == nil, r.key == nil)
	require.Equal(t, string(m.Key), string(r.key))
	require.Equal(t, r, r.clone())
	return m
}

// dirty is memory that another record was in.
func dirty() []byte { return bytes.Repeat([]byte{0xff}, 300) }

func h(pairs ...any) []*sarama.RecordHeader {
	var headers []*sarama.RecordHeader
	for i := 0; i < len(pairs); i += 2 {
		header := &sarama.RecordHeader{Key: []byte(pairs[i].(string))}
		switch v := pairs[i+1].(type) {
		case string:
			header.Value = []byte(v)
		case []byte:
			header.Value = v
		}
		headers = append(headers, header)
	}
	return headers
}

func TestCodec_ForeignRecords(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		record   sarama.ConsumerMessage
		id       string
		key      string // what orders it
		metadata message.Metadata
	}{
		"no headers, no key": {
			record:   sarama.ConsumerMessage{Value: []byte("x")},
			id:       "orders/3/42",
			metadata: message.Metadata{pipeline.MetaIDSource: pipeline.IDSourcePosition},
		},
		"tombstone": {
			record: sarama.ConsumerMessage{Key: []byte("k"), Headers: h(headerID, "1")},
			id:     "1", key: "k",
			metadata: message.Metadata{pipeline.MetaPartitionKey: "k"},
		},
		"key that the payload gives": {
			record: sarama.ConsumerMessage{Key: []byte("7"), Value: []byte(`{"orderId":7}`), Headers: h(headerID, "1")},
			id:     "1", key: "7",
			metadata: message.Metadata{},
		},
		"no key, but one in the payload": {
			record: sarama.ConsumerMessage{Value: []byte(`{"orderId":7}`), Headers: h(headerID, "1")},
			id:     "1", key: "7",
			metadata: message.Metadata{},
		},
		"cloud event": {
			record:   sarama.ConsumerMessage{Headers: h("ce_id", "e-1", "ce_type", "order.paid")},
			id:       "e-1",
			metadata: message.Metadata{"ce_id": "e-1", "ce_type": "order.paid"},
		},
		"binary key": {
			record: sarama.ConsumerMessage{Key: []byte{0xff, 1}, Headers: h(headerID, "1")},
			id:     "1", key: "\xff\x01",
			metadata: message.Metadata{broker.MetaWire: `{"kafka":{"key":{"b64":"/wE="}}}`},
		},
		"empty key": {
			record:   sarama.ConsumerMessage{Key: []byte{}, Headers: h(headerID, "1")},
			id:       "1",
			metadata: message.Metadata{broker.MetaWire: `{"kafka":{"key":""}}`},
		},
		"key beside another in a header": {
			record: sarama.ConsumerMessage{Key: []byte("b"), Headers: h(headerID, "1", pipeline.MetaPartitionKey, "a")},
			id:     "1", key: "b",
			metadata: message.Metadata{
				pipeline.MetaPartitionKey: "a",
				broker.MetaWire:           `{"kafka":{"key":"b","key_beside":"a"}}`,
			},
		},
		"repeats, order, binary and null": {
			record: sarama.ConsumerMessage{Headers: h("z", "1", "a", []byte{0xff}, "z", "2", "n", nil, headerID, "1")},
			id:     "1",
			metadata: message.Metadata{
				"z": "2", "a": "/w==", "n": "",
				broker.MetaWire: `{"kafka":{"headers":[["z","1"],["a",{"b64":"/w=="}],"z",["n",null],"_watermill_message_uuid"]}}`,
			},
		},
		"another driver's annotation": {
			record:   sarama.ConsumerMessage{Headers: h(headerID, "1", broker.MetaWire, `{"amqp":{"h":{"n":"int32"}}}`, "n", "5")},
			id:       "1",
			metadata: message.Metadata{"n": "5", broker.MetaWire: `{"amqp":{"h":{"n":"int32"}}}`},
		},
		"id that is not text": {
			record:   sarama.ConsumerMessage{Headers: h(headerID, []byte{0xff})},
			id:       "orders/3/42",
			metadata: message.Metadata{pipeline.MetaIDSource: pipeline.IDSourcePosition},
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.record.Partition, test.record.Offset = 3, 42
			msg, key := decode(keyed, &test.record)
			require.Equal(t, test.id, msg.UUID)
			require.Equal(t, test.key, key)
			require.Equal(t, test.metadata, msg.Metadata)
			require.Equal(t, test.record.Value, []byte(msg.Payload))

			again := received(t, encode(dirty(), keyed, msg))
			require.Equal(t, test.record.Value, again.Value, "value")
			if key != "" || test.record.Key != nil {
				require.Equal(t, key, string(again.Key), "key")
			}
		})
	}
}

// Publishing what was consumed gives the same record, headers in their order
// with repeats and bytes, key and value with nil told from empty. Added are
// only the id and where it is from, and the key as metadata.
func TestCodec_RoundTripKeepsRecords(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		record := anyRecord(t)
		msg, key := decode(keyed, record)
		require.NotEmpty(t, msg.UUID)
		again := received(t, encode(dirty(), keyed, msg))
		require.Equal(t, record.Value, again.Value)
		switch {
		case record.Key != nil:
			require.Equal(t, record.Key, again.Key)
			require.Equal(t, string(record.Key), key)
		default:
			require.Equal(t, key, string(again.Key))
		}
		require.Equal(t, headersOf(record.Headers, record.Headers), headersOf(again.Headers, record.Headers))

		// And once more: the copy is as good as the original.
		twice, _ := decode(keyed, again)
		require.Equal(t, msg.UUID, twice.UUID)
		require.Equal(t, again.Headers, received(t, encode(dirty(), keyed, twice)).Headers)
	})
}

// headersOf prints headers, without those that publishing adds to original.
func headersOf(headers, original []*sarama.RecordHeader) []string {
	was := make(map[string]bool)
	for _, h := range original {
		was[string(h.Key)] = true
	}
	var printed []string
	for _, h := range headers {
		name := string(h.Key)
		added := name == headerID || name == pipeline.MetaIDSource || name == pipeline.MetaPartitionKey
		if added && !was[name] {
			continue
		}
		value := fmt.Sprintf("%q", h.Value)
		if h.Value == nil {
			value = "null"
		}
		if name == headerID && !utf8.Valid(h.Value) || name == headerID && len(h.Value) == 0 {
			value = "an id" // one that was none is replaced
		}
		printed = append(printed, fmt.Sprintf("%q=%s", name, value))
	}
	return printed
}

func anyRecord(t *rapid.T) *sarama.ConsumerMessage {
	bytes := rapid.OneOf(
		rapid.SliceOfN(rapid.Byte(), 0, 8),
		rapid.Map(rapid.StringN(0, 8, -1), func(s string) []byte { return []byte(s) }),
		rapid.Just([]byte(nil)),
	)
	name := rapid.OneOf(
		rapid.SampledFrom([]string{"a", "b", "c", pipeline.MetaPartitionKey, "ce_id", "\xff"}),
		rapid.StringN(0, 6, -1),
	)
	record := &sarama.ConsumerMessage{
		Topic: "orders", Key: bytes.Draw(t, "key"),
		Value: rapid.OneOf(bytes, rapid.Just([]byte(`{"orderId":"o-1"}`))).Draw(t, "value"),
	}
	for range rapid.IntRange(0, 6).Draw(t, "headers") {
		record.Headers = append(record.Headers, &sarama.RecordHeader{
			Key: []byte(name.Draw(t, "name")), Value: bytes.Draw(t, "header"),
		})
	}
	if rapid.Bool().Draw(t, "has id") {
		at := rapid.IntRange(0, len(record.Headers)).Draw(t, "at")
		id := &sarama.RecordHeader{Key: []byte(headerID), Value: []byte("an-id")}
		record.Headers = append(record.Headers[:at:at], append([]*sarama.RecordHeader{id}, record.Headers[at:]...)...)
	}
	return record
}

// Messages of our own cross to the published marshaler and back unchanged,
// and need no annotation.
func TestCodec_MatchesDefaultMarshaler(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.StringN(1, 10, -1).Filter(func(s string) bool { return s != headerID && s != broker.MetaWire })
		msg := message.NewMessage(rapid.StringN(1, 20, -1).Draw(t, "id"), rapid.SliceOfN(rapid.Byte(), 0, 20).Draw(t, "payload"))
		for k, v := range rapid.MapOfN(name, rapid.StringN(0, 10, -1), 0, 40).Draw(t, "metadata") {
			msg.Metadata.Set(k, v)
		}
		ours := received(t, encode(dirty(), keyed, msg))
		marshaled, err := wmkafka.DefaultMarshaler{}.Marshal("orders", msg)
		require.NoError(t, err)
		stock := messageOf(t, marshaled)
		require.ElementsMatch(t, stock.Headers, ours.Headers)
		require.Equal(t, stock.Value, ours.Value)

		read, err := wmkafka.DefaultMarshaler{}.Unmarshal(ours)
		require.NoError(t, err)
		require.True(t, msg.Equals(read), "stock reads ours")

		back, _ := decode(keyed, stock)
		delete(back.Metadata, broker.MetaWire) // the order in which stock wrote its map
		require.True(t, msg.Equals(back), "we read stock: %v %v", msg.Metadata, back.Metadata)

		own, _ := decode(keyed, ours)
		require.True(t, msg.Equals(own), "we read ours: %v %v", msg.Metadata, own.Metadata)
	})
}

func messageOf(t require.TestingT, marshaled *sarama.ProducerMessage) *sarama.ConsumerMessage {
	value, err := marshaled.Value.Encode()
	require.NoError(t, err)
	m := &sarama.ConsumerMessage{Partition: 3, Offset: 42, Value: value}
	for i := range marshaled.Headers {
		m.Headers = append(m.Headers, &marshaled.Headers[i])
	}
	return m
}

func TestCodec_HandlersMayChangeWhatCame(t *testing.T) {
	t.Parallel()
	record := &sarama.ConsumerMessage{
		Key: []byte{0xff}, Value: []byte("v"),
		Headers: h("z", "1", "gone", "x", "z", "2", "set", []byte{0xff}, headerID, "1"),
	}
	msg, _ := decode(keyed, record)
	delete(msg.Metadata, "gone")
	msg.Metadata.Set("set", "anew")
	msg.Metadata.Set("more", "m")
	msg.Metadata.Set(pipeline.MetaPartitionKey, "mine")
	again := received(t, encode(dirty(), keyed, msg))
	require.Equal(t, h("z", "1", "z", "2", "set", "anew", headerID, "1", "more", "m", pipeline.MetaPartitionKey, "mine"), again.Headers)
	require.Equal(t, "mine", string(again.Key))
}

func TestCodec_PassesOnOtherDriversEntries(t *testing.T) {
	t.Parallel()
	const foreign = `{"amqp":{"h":{"n":"int32"}}}`
	record := &sarama.ConsumerMessage{Headers: h("z", "1", "a", "2", broker.MetaWire, foreign, headerID, "1")}
	msg, _ := decode(keyed, record)
	require.JSONEq(t, `{"amqp":{"h":{"n":"int32"}},"kafka":{"headers":["z","a",["_waybill_wire",`+
		fmt.Sprintf("%q", foreign)+`],"_watermill_message_uuid"]}}`, msg.Metadata[broker.MetaWire])
	require.Equal(t, record.Headers, received(t, encode(dirty(), keyed, msg)).Headers)

	// RabbitMQ adds its entry to a message of ours on the way.
	msg, _ = decode(keyed, &sarama.ConsumerMessage{Headers: h("z", "1", "a", "2", headerID, "1")})
	msg.Metadata[broker.MetaWire] = `{"amqp":{},` + msg.Metadata[broker.MetaWire][1:]
	require.Equal(t, h("z", "1", "a", "2", headerID, "1", broker.MetaWire, `{"amqp":{}}`), received(t, encode(dirty(), keyed, msg)).Headers)

	// What is no annotation at all stays a header.
	record = &sarama.ConsumerMessage{Headers: h(headerID, "1", "z", "1", broker.MetaWire, "junk")}
	msg, _ = decode(keyed, record)
	require.Equal(t, record.Headers, received(t, encode(dirty(), keyed, msg)).Headers)
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("key"), []byte(`{"id":1}`), []byte("name"), []byte("value"), `{"kafka":{"headers":[["a",null]]}}`)
	f.Add([]byte(nil), []byte(nil), []byte{0xff}, []byte{0xfe}, `{"kafka":{"key":{"b64":"/w=="}}}`)
	f.Fuzz(func(t *testing.T, key, value, name, headerValue []byte, annotation string) {
		record := &sarama.ConsumerMessage{Topic: "orders", Key: key, Value: value, Headers: []*sarama.RecordHeader{
			{Key: name, Value: headerValue}, {Key: []byte(broker.MetaWire), Value: []byte(annotation)},
		}}
		msg, _ := decode(keyed, record)
		require.NotEmpty(t, msg.UUID)
		require.Equal(t, value, []byte(msg.Payload))
		encode(dirty(), keyed, msg)
		require.Contains(t, msg.Metadata, text(name))
	})
}

func TestText(t *testing.T) {
	t.Parallel()
	require.Equal(t, "æ", text([]byte("æ")))
	require.Equal(t, base64.StdEncoding.EncodeToString([]byte{0xff}), text([]byte{0xff}))
}
