package kafkabroker

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// headerID is the header in which watermill-kafka keeps a message's id.
const headerID = "_watermill_message_uuid"

// idHeaders are where a record's id is looked for, in this order.
var idHeaders = []string{headerID, "ce_id", "cloudEvents_id", "cloudEvents:id"}

// encode returns msg as the record that watermill-kafka's DefaultMarshaler
// makes of it: the id and the metadata as headers, the payload as value. The
// key is broker.Key, as its partitioning marshaler has it. Where the message
// was read from Kafka, what metadata cannot hold of the record is restored.
func encode(topic pipeline.Topic, msg *message.Message) *sarama.Record {
	w := wireOf(msg.Metadata)
	r := &roomyRecord{}
	r.Headers = r.point(encodeHeaders(msg, w, r.headers[:0]))
	r.Key = encodeKey(topic, msg, w)
	r.Value = msg.Payload // nil is a tombstone, and stays one
	return &r.Record
}

// roomyRecord is a record with room for the headers that most have: one object
// in place of three.
type roomyRecord struct {
	sarama.Record
	headers  [8]sarama.RecordHeader
	pointers [8]*sarama.RecordHeader
}

// point returns a pointer to each header.
func (r *roomyRecord) point(headers []sarama.RecordHeader) []*sarama.RecordHeader {
	all := slices.Grow(r.pointers[:0], len(headers))
	for i := range headers {
		all = append(all, &headers[i])
	}
	return all
}

// What a record has beside its contents, at most, and each of its headers.
const (
	recordOverhead = 5*binary.MaxVarintLen32 + binary.MaxVarintLen64 + 1
	headerOverhead = 2 * binary.MaxVarintLen32
)

// recordSize is how many bytes a record takes at most.
func recordSize(r *sarama.Record) int {
	n := recordOverhead + len(r.Key) + len(r.Value)
	for _, h := range r.Headers {
		n += headerOverhead + len(h.Key) + len(h.Value)
	}
	return n
}

// encodeHeaders returns the headers of a message, in room if that is enough.
func encodeHeaders(msg *message.Message, w *wire, room []sarama.RecordHeader) []sarama.RecordHeader {
	if w == nil {
		return plainHeaders(msg, room)
	}
	headers, dealt := w.restore(msg.UUID, msg.Metadata)
	if !dealt[headerID] {
		headers = slices.Insert(headers, 0, sarama.RecordHeader{Key: []byte(headerID), Value: []byte(msg.UUID)})
	}
	first := len(headers)
	for name, value := range msg.Metadata {
		if name == broker.MetaWire {
			value = w.others
		}
		if name == headerID || dealt[name] || name == broker.MetaWire && value == "" {
			continue
		}
		headers = append(headers, sarama.RecordHeader{Key: []byte(name), Value: []byte(value)})
	}
	sortHeaders(headers[first:])
	return headers
}

// plainHeaders are the headers of a message whose metadata says it all, their
// names and values in one piece of memory.
func plainHeaders(msg *message.Message, room []sarama.RecordHeader) []sarama.RecordHeader {
	size := len(headerID) + len(msg.UUID)
	for name, value := range msg.Metadata {
		size += len(name) + len(value)
	}
	memory := make([]byte, 0, size)
	keep := func(s string) []byte {
		start := len(memory)
		memory = append(memory, s...)
		return memory[start:len(memory):len(memory)]
	}
	headers := append(slices.Grow(room, len(msg.Metadata)+1), sarama.RecordHeader{Key: keep(headerID), Value: keep(msg.UUID)})
	for name, value := range msg.Metadata {
		if name != headerID {
			headers = append(headers, sarama.RecordHeader{Key: keep(name), Value: keep(value)})
		}
	}
	sortHeaders(headers[1:])
	return headers
}

// sortHeaders sorts by name. The few that there are it sorts by hand: the
// frame of slices.SortFunc makes the stack of a fresh goroutine grow, which
// costs more than the rest of encode.
func sortHeaders(headers []sarama.RecordHeader) {
	if len(headers) > 24 {
		slices.SortFunc(headers, byName)
		return
	}
	for i := 1; i < len(headers); i++ {
		for j := i; j > 0 && byName(headers[j], headers[j-1]) < 0; j-- {
			headers[j], headers[j-1] = headers[j-1], headers[j]
		}
	}
}

func byName(a, b sarama.RecordHeader) int { return bytes.Compare(a.Key, b.Key) }

// encodeKey returns the record's key, nil for none. One that metadata could
// not hold counts as long as nobody has set another.
func encodeKey(topic pipeline.Topic, msg *message.Message, w *wire) []byte {
	if w != nil && w.Key != nil && msg.Metadata.Get(pipeline.MetaPartitionKey) == w.KeyBeside {
		return *w.Key
	}
	if key := broker.Key(topic, msg); key != "" {
		return []byte(key)
	}
	return nil
}

// decode returns the message of a record and what orders it. There is no
// record that it refuses: headers that are not text are told in base64, and
// the value is the payload, whatever it is.
func decode(topic pipeline.Topic, record *sarama.ConsumerMessage) (msg *message.Message, key string) {
	metadata := make(message.Metadata, len(record.Headers)+2)
	for _, h := range record.Headers {
		if string(h.Key) != headerID {
			metadata[nameOf(h.Key)] = text(h.Value)
		}
	}
	id := decodeID(record)
	if id == "" {
		id = topic.Name + "/" + strconv.Itoa(int(record.Partition)) + "/" + strconv.FormatInt(record.Offset, 10)
		metadata[pipeline.MetaIDSource] = pipeline.IDSourcePosition
	}
	msg = pipeline.NewMessage(id, record.Value, metadata)
	w := wire{Headers: describe(record.Headers)}
	key = decodeKey(topic, record, msg, &w)
	w.annotate(metadata)
	return msg, key
}

// names are of the headers that most messages have, so that not each has copies
// of its own.
var names = func() map[string]string {
	all := make(map[string]string)
	for _, name := range []string{
		pipeline.MetaCorrelationID, pipeline.MetaCausationID, pipeline.MetaPartitionKey, pipeline.MetaTraceParent,
		pipeline.MetaTraceState, pipeline.MetaContentType, pipeline.MetaEvent, pipeline.MetaConfigVersion, pipeline.MetaIDSource,
	} {
		all[name] = name
	}
	return all
}()

// nameOf is a header's name as it stands in metadata.
func nameOf(key []byte) string {
	if name, ok := names[string(key)]; ok {
		return name
	}
	return text(key)
}

func decodeID(record *sarama.ConsumerMessage) string {
	for _, name := range idHeaders {
		for _, h := range slices.Backward(record.Headers) {
			if string(h.Key) == name && len(h.Value) > 0 && utf8.Valid(h.Value) {
				return string(h.Value)
			}
		}
	}
	return ""
}

// decodeKey tells metadata of the record's key where nothing else would give
// it back when the message is published: not the metadata that came, and not
// the topic's pointers into the payload. It returns what orders the message.
func decodeKey(topic pipeline.Topic, record *sarama.ConsumerMessage, msg *message.Message, w *wire) string {
	given := broker.Key(topic, msg)
	if record.Key == nil || given != "" && given == string(record.Key) {
		return given
	}
	key := string(record.Key)
	beside, taken := msg.Metadata[pipeline.MetaPartitionKey]
	if key != "" && utf8.ValidString(key) && !taken {
		msg.Metadata[pipeline.MetaPartitionKey] = key
		return key
	}
	exact := blob(record.Key)
	w.Key, w.KeyBeside = &exact, beside
	return key
}
