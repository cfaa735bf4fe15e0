package rabbitbroker

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"

	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

const (
	// headerID is where watermill-amqp's DefaultMarshaler keeps a message's
	// id. All else that it knows is metadata as headers, as text.
	headerID = "_watermill_message_uuid"

	// headerCount is added by quorum queues to what they hand out again. It
	// is the queue's, not the message's, and an integer, on which
	// watermill-amqp chokes.
	headerCount = "x-delivery-count"

	// RabbitMQ takes these two, when published, as further routing keys, and
	// closes the channel if they are not arrays. What was received must not
	// be routed once more by being published again.
	headerCC  = "CC"
	headerBCC = "BCC"
	metaCC    = "amqp_cc"
	metaBCC   = "amqp_bcc"
)

// headerIDs are where CloudEvents have their id.
var headerIDs = []string{"ce_id", "cloudEvents_id", "cloudEvents:id"}

// field is a header as it was received.
type field struct {
	name  string
	text  string // of one that is plain text
	plain bool
	value any // of one that is not
}

// appendFieldsOf appends headers as amqp091-go has them.
func appendFieldsOf(fields []field, table amqp.Table) []field {
	for name, value := range table {
		f := field{name: name, value: value}
		f.text, f.plain = value.(string)
		fields = append(fields, f)
	}
	return fields
}

func indexOf(fields []field, name string) int {
	return slices.IndexFunc(fields, func(f field) bool { return f.name == name })
}

// textIn returns the text of a header that is plain text, or "".
func textIn(fields []field, name string) string {
	if i := indexOf(fields, name); i >= 0 {
		return fields[i].text
	}
	return ""
}

// decode makes a message of any delivery: there is none that it refuses.
func decode(d *amqp.Delivery) *message.Message {
	return decodeWith(d, appendFieldsOf(nil, d.Headers))
}

// decodeWith is decode where headers are beside the delivery.
func decodeWith(d *amqp.Delivery, headers []field) *message.Message {
	meta := make(message.Metadata, len(headers)+2)
	w := parseWire(textIn(headers, broker.MetaWire))
	for i := range headers {
		h := &headers[i]
		name := h.name
		switch name {
		case headerID, headerCount, broker.MetaWire:
			continue
		case headerCC:
			name = metaCC
		case headerBCC:
			name = metaBCC
		}
		text := h.text
		if !h.plain {
			var shape any
			text, shape = textOf(h.value)
			w.shape(name, shape)
		} else if strings.HasPrefix(name, metaPrefix) {
			w.shape(name, isText) // else it would come out as a property
		}
		meta[name] = text
	}
	readProperties(d, meta, &w)
	id := identify(d, headers, meta)
	if d.MessageId != "" && d.MessageId != id {
		meta[MetaMessageID] = d.MessageId
	}
	if text := w.text(); text != "" {
		meta[broker.MetaWire] = text
	}
	// Others keep the id longer than the message, of whose headers it may be a part.
	return pipeline.NewMessage(strings.Clone(id), d.Body, meta)
}

// identify returns the message's id: design §4, Ids.
func identify(d *amqp.Delivery, headers []field, meta message.Metadata) string {
	if i := indexOf(headers, headerID); i >= 0 {
		id := headers[i].text
		if !headers[i].plain {
			id, _ = textOf(headers[i].value)
		}
		if id != "" {
			return id
		}
	}
	if d.MessageId != "" {
		return d.MessageId
	}
	for _, name := range headerIDs {
		if id := meta[name]; id != "" {
			return id
		}
	}
	meta[pipeline.MetaIDSource] = pipeline.IDSourceContent
	sum := sha256.New()
	_, _ = fmt.Fprintf(sum, "%s\x00%s\x00", d.Exchange, d.RoutingKey)
	_, _ = sum.Write(d.Body)
	return hex.EncodeToString(sum.Sum(nil))
}

// outgoing is a message as it goes to the broker.
type outgoing struct {
	exchange, key string
	amqp.Publishing
	header []byte // what properties and headers are in the content header's frame
}

// id is the message's id.
func (o *outgoing) id() string {
	id, _ := o.Headers[headerID].(string)
	return id
}

// size is what the message takes on its way, frames not counted.
func (o *outgoing) size() int { return len(o.Body) + len(o.header) }

// usualHeader is what the content header of most messages takes at most.
const usualHeader = 512

// encode makes what DefaultMarshaler makes, and sets properties. Errors are
// permanent. The message is not changed.
func encode(l layout, msg *message.Message) (*outgoing, error) {
	out := &outgoing{exchange: l.exchange, key: l.messageKey()}
	out.Body, out.DeliveryMode = msg.Payload, amqp.Persistent
	out.Headers = make(amqp.Table, len(msg.Metadata)+2)
	w := parseWire(msg.Metadata[broker.MetaWire])
	for name, text := range msg.Metadata {
		switch name {
		case MetaRoutingKey:
			out.key = text
			continue
		case broker.MetaWire:
			if text = w.othersText(); text == "" {
				continue
			}
		case headerCC:
			name = metaCC
		case headerBCC:
			name = metaBCC
		}
		out.Headers[name] = restore(name, text, &w)
	}
	if l.topic.Partitions > 1 && msg.Metadata[pipeline.MetaPartitionKey] == "" {
		if key := broker.Key(l.topic, msg); key != "" { // what partitions are chosen by
			out.Headers[pipeline.MetaPartitionKey] = key
		}
	}
	writeProperties(&out.Publishing, &w)
	out.Headers[headerID] = msg.UUID
	short(&out.MessageId, msg.UUID)
	if len(out.key) > maxShort {
		return nil, pipeline.Invalid("routing key has %d bytes, AMQP allows %d", len(out.key), maxShort)
	}
	var err error
	out.header, err = appendHeader(make([]byte, 0, usualHeader), &out.Publishing)
	return out, err
}

// restore gives a header the type that it was received with.
func restore(name, text string, w *wire) any {
	if shape, ok := w.Headers[safeKey(name)]; ok {
		if value, err := valueOf(text, shape); err == nil {
			return value
		}
	}
	return text
}
