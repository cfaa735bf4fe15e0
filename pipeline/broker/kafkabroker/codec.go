package kafkabroker

import (
	"bytes"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
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

// encode returns the record that watermill-kafka's DefaultMarshaler makes of msg, in
// this memory if that is enough: the id and the metadata as headers, the payload as
// value. The key is broker.Key, as its partitioning marshaler has it. Where the
// message was read from Kafka, what metadata cannot hold of the record is restored.
func encode(memory []byte, topic pipeline.Topic, msg *message.Message) record {
	b := slices.Grow(memory[:0], len(msg.Payload)+encodeBeside)
	w := wireOf(msg.Metadata)
	key, keyed := encodeKey(topic, msg, w)
	if keyed {
		b = appendText(b, key)
	} else {
		b = appendBytes(b, nil)
	}
	keyEnd := len(b)
	b = appendBytes(b, msg.Payload) // nil is a tombstone, and stays one
	if w == nil {
		b = appendMetadata(b, msg)
	} else {
		b = appendHeaders(b, encodeHeaders(msg, w))
	}
	r := record{body: b}
	if keyed {
		r.key = b[keyEnd-len(key) : keyEnd]
	}
	return r
}

// encodeBeside is more than most records have beside their value.
const encodeBeside = 1 << 10

// encodeKey returns the record's key, if it has one. One that metadata could not
// hold counts as long as nobody has set another.
func encodeKey(topic pipeline.Topic, msg *message.Message, w *wire) (key string, keyed bool) {
	if w != nil && w.Key != nil && msg.Metadata.Get(pipeline.MetaPartitionKey) == w.KeyBeside {
		return string(*w.Key), *w.Key != nil
	}
	key = broker.Key(topic, msg)
	return key, key != ""
}

// appendMetadata appends the headers of a message whose metadata says it all.
func appendMetadata(b []byte, msg *message.Message) []byte {
	var room [12]entry
	entries := room[:0]
	for name, value := range msg.Metadata {
		if name != headerID {
			entries = append(entries, entry{name, value})
		}
	}
	sortEntries(entries)
	b = binary.AppendVarint(b, int64(len(entries)+1))
	b = appendText(appendText(b, headerID), msg.UUID)
	for _, e := range entries {
		b = appendText(appendText(b, e.name), e.value)
	}
	return b
}

// entry is one of a message's metadata.
type entry struct{ name, value string }

// sortEntries sorts by name. The few that there are it sorts by hand: the frame of
// slices.SortFunc makes the stack of a fresh goroutine grow, which costs more than
// the rest of encode.
func sortEntries(entries []entry) {
	if len(entries) > 24 {
		slices.SortFunc(entries, func(a, b entry) int { return strings.Compare(a.name, b.name) })
		return
	}
	for i := 1; i < len(entries); i++ {
		for j := i; j > 0 && entries[j].name < entries[j-1].name; j-- {
			entries[j], entries[j-1] = entries[j-1], entries[j]
		}
	}
}

// encodeHeaders returns the headers of a message that w describes.
func encodeHeaders(msg *message.Message, w *wire) []sarama.RecordHeader {
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
	slices.SortFunc(headers[first:], func(a, b sarama.RecordHeader) int { return bytes.Compare(a.Key, b.Key) })
	return headers
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
