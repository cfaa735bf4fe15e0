package rabbitbroker

import (
	"slices"
	"strconv"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
)

// MetaRoutingKey is the metadata key with which a message asks for a routing
// key of its own (row 0-05). It is used up by publishing, not sent.
const MetaRoutingKey = "routingkey"

// Metadata keys of AMQP properties that have no name of their own in Waybill.
// Setting one of the first four on a message that is published sets the
// property. The others say how a message was received and are never set: a
// dead letter must not expire, a user id must be that of the connection.
const (
	MetaContentEncoding = "content-encoding"
	MetaType            = "amqp_type"
	MetaReplyTo         = "amqp_reply_to"
	MetaAppID           = "amqp_app_id"
	MetaPriority        = "amqp_priority"
	MetaTimestamp       = "amqp_timestamp" // RFC 3339, whole seconds

	MetaExpiration   = "amqp_expiration"    // milliseconds
	MetaUserID       = "amqp_user_id"       //
	MetaMessageID    = "amqp_message_id"    // where the message's id is another
	MetaDeliveryMode = "amqp_delivery_mode" // only if transient (1); published again it is persistent
	metaPrefix       = "amqp_"
)

// maxShort is how long AMQP's short strings may be, in bytes: names of
// headers, routing keys and most properties. One that is longer is refused before
// it is written (encode, appendFields) or is no property (short); exchanges are
// asked for first.
const maxShort = 255

// property is an AMQP property as metadata.
type property struct {
	name string
	get  func(*amqp.Delivery) string
	// set reports whether the text can be the property. nil: never.
	set func(*amqp.Publishing, string) bool
}

var properties = []property{
	{
		pipeline.MetaContentType, func(d *amqp.Delivery) string { return d.ContentType },
		func(p *amqp.Publishing, v string) bool { return short(&p.ContentType, v) },
	},
	{
		MetaContentEncoding, func(d *amqp.Delivery) string { return d.ContentEncoding },
		func(p *amqp.Publishing, v string) bool { return short(&p.ContentEncoding, v) },
	},
	{
		pipeline.MetaCorrelationID, func(d *amqp.Delivery) string { return d.CorrelationId },
		func(p *amqp.Publishing, v string) bool { return short(&p.CorrelationId, v) },
	},
	{
		MetaType, func(d *amqp.Delivery) string { return d.Type },
		func(p *amqp.Publishing, v string) bool { return short(&p.Type, v) },
	},
	{
		MetaReplyTo, func(d *amqp.Delivery) string { return d.ReplyTo },
		func(p *amqp.Publishing, v string) bool { return short(&p.ReplyTo, v) },
	},
	{
		MetaAppID, func(d *amqp.Delivery) string { return d.AppId },
		func(p *amqp.Publishing, v string) bool { return short(&p.AppId, v) },
	},
	{MetaPriority, priorityText, setPriority},
	{MetaTimestamp, timestampText, setTimestamp},
	{MetaExpiration, func(d *amqp.Delivery) string { return d.Expiration }, nil},
	{MetaUserID, func(d *amqp.Delivery) string { return d.UserId }, nil},
	{MetaDeliveryMode, deliveryModeText, nil},
}

func short(field *string, v string) bool {
	if len(v) > maxShort {
		return false
	}
	*field = v
	return true
}

func priorityText(d *amqp.Delivery) string {
	if d.Priority == 0 {
		return ""
	}
	return strconv.Itoa(int(d.Priority))
}

func setPriority(p *amqp.Publishing, v string) bool {
	n, err := strconv.ParseUint(v, 10, 8)
	p.Priority = uint8(n) //nolint:gosec // 8 bits were asked for
	return err == nil
}

func timestampText(d *amqp.Delivery) string {
	if d.Timestamp.IsZero() {
		return ""
	}
	return timeText(d.Timestamp)
}

func setTimestamp(p *amqp.Publishing, v string) bool {
	t, err := parseTime(v)
	if err != nil {
		return false
	}
	p.Timestamp = t.(time.Time) //nolint:forcetypeassert // it is one
	return true
}

func deliveryModeText(d *amqp.Delivery) string {
	if d.DeliveryMode != amqp.Transient {
		return ""
	}
	return strconv.Itoa(int(amqp.Transient))
}

// readProperties adds the delivery's properties to its metadata.
func readProperties(d *amqp.Delivery, meta map[string]string, w *wire) {
	for i := range properties {
		p := &properties[i]
		value := p.get(d)
		if value == "" {
			continue
		}
		switch header, taken := meta[p.name]; {
		case !taken:
			meta[p.name] = value
			if p.set != nil {
				w.Properties = append(w.Properties, p.name)
			}
		case header != value:
			w.clash(p.name, value)
		}
	}
}

// writeProperties sets the properties that metadata asks for, and takes those
// out of the headers that are no headers.
func writeProperties(out *amqp.Publishing, w *wire) {
	for i := range properties {
		p := &properties[i]
		if p.set == nil {
			continue
		}
		if value, ok := w.Clashes[p.name]; ok {
			p.set(out, value)
			continue
		}
		value, ok := out.Headers[p.name].(string)
		if !ok || w.Headers[p.name] != nil || !p.set(out, value) {
			continue
		}
		if strings.HasPrefix(p.name, metaPrefix) || slices.Contains(w.Properties, p.name) {
			delete(out.Headers, p.name)
		}
	}
}
