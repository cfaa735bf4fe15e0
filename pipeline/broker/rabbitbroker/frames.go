package rabbitbroker

import (
	"encoding/binary"
	"fmt"
	"math"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
)

// Frames of AMQP 0-9-1, §4.2 of its specification: type, channel, size, what is
// in it, and an octet that ends it.
const (
	frameHead   = 7 // type, channel and size
	frameEnd    = 0xCE
	frameMethod = 1
	frameHeader = 2
	frameBody   = 3
)

// Methods by class and number, as a method's frame begins.
const (
	methodChannelOpenOK  = 20<<16 | 11
	methodChannelClose   = 20<<16 | 40
	methodChannelCloseOK = 20<<16 | 41
	methodBasicPublish   = 60<<16 | 40
	methodBasicDeliver   = 60<<16 | 60
	methodBasicAck       = 60<<16 | 80
	methodBasicNack      = 60<<16 | 120
)

// heartbeatFrame says that its sender is there, and nothing else.
var heartbeatFrame = []byte{8, 0, 0, 0, 0, 0, 0, frameEnd}

// appendTo appends the frames that publish the message on a channel; mandatory:
// what reaches no queue comes back.
func (o *outgoing) appendTo(b []byte, channel uint16, frameMax int) []byte {
	const mandatory = 1
	b, at := beginFrame(b, frameMethod, channel)
	b = binary.BigEndian.AppendUint32(b, methodBasicPublish)
	b = append(b, 0, 0) // reserved
	b = appendShort(b, o.exchange)
	b = appendShort(b, o.key)
	b = endFrame(append(b, mandatory), at)

	b, at = beginFrame(b, frameHeader, channel)
	b = endFrame(append(b, o.header...), at)

	size := math.MaxInt32
	if frameMax > 0 {
		size = frameMax - frameHead - 1
	}
	for body := o.Body; len(body) > 0; {
		n := min(len(body), size)
		b, at = beginFrame(b, frameBody, channel)
		b = endFrame(append(b, body[:n]...), at)
		body = body[n:]
	}
	return b
}

// beginFrame appends a frame's head, and returns where what is in it begins.
func beginFrame(b []byte, kind byte, channel uint16) ([]byte, int) {
	b = append(b, kind)
	b = binary.BigEndian.AppendUint16(b, channel)
	b = append(b, 0, 0, 0, 0) // the size
	return b, len(b)
}

func endFrame(b []byte, at int) []byte {
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at)) //nolint:gosec // a frame's size is negotiated in 32 bits
	return append(b, frameEnd)
}

// appendHeader appends the content header of a message: what its frame has in
// it. Errors are permanent.
func appendHeader(b []byte, p *amqp.Publishing) ([]byte, error) {
	b = binary.BigEndian.AppendUint32(b, 60<<16) // class basic, no weight
	b = binary.BigEndian.AppendUint64(b, uint64(len(p.Body)))
	flags, at := uint16(0), len(b)
	b = append(b, 0, 0)
	text := func(bit int, s string) {
		if s != "" {
			flags |= 1 << bit
			b = appendShort(b, s)
		}
	}
	text(15, p.ContentType)
	text(14, p.ContentEncoding)
	if len(p.Headers) > 0 {
		flags |= 1 << 13
		var err error
		if b, err = appendFields(b, p.Headers); err != nil {
			return nil, pipeline.Permanent(pipeline.WithReason(err, pipeline.ReasonInvalid))
		}
	}
	if p.DeliveryMode > 0 {
		flags |= 1 << 12
		b = append(b, p.DeliveryMode)
	}
	if p.Priority > 0 {
		flags |= 1 << 11
		b = append(b, p.Priority)
	}
	text(10, p.CorrelationId)
	text(9, p.ReplyTo)
	text(8, p.Expiration)
	text(7, p.MessageId)
	if !p.Timestamp.IsZero() {
		flags |= 1 << 6
		b = appendTime(b, p.Timestamp)
	}
	text(5, p.Type)
	text(4, p.UserId)
	text(3, p.AppId)
	binary.BigEndian.PutUint16(b[at:], flags)
	return b, nil
}

// appendShort appends a string of at most maxShort bytes.
func appendShort(b []byte, s string) []byte {
	return append(append(b, byte(len(s))), s...) //nolint:gosec // see maxShort
}

func appendTime(b []byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(t.Unix())) //nolint:gosec // a sign is kept
}

// long has f append something, and its size before it.
func long(b []byte, f func([]byte) ([]byte, error)) ([]byte, error) {
	b = append(b, 0, 0, 0, 0)
	at := len(b)
	b, err := f(b)
	if err != nil {
		return nil, err
	}
	binary.BigEndian.PutUint32(b[at-4:], uint32(len(b)-at)) //nolint:gosec // what is in memory is within max_message
	return b, nil
}

func appendFields(b []byte, t amqp.Table) ([]byte, error) {
	return long(b, func(b []byte) ([]byte, error) {
		for name, value := range t {
			if len(name) > maxShort {
				return nil, fmt.Errorf("header name %.20q... has %d bytes, AMQP allows %d", name, len(name), maxShort)
			}
			var err error
			if b, err = appendField(appendShort(b, name), value); err != nil {
				return nil, err
			}
		}
		return b, nil
	})
}

// appendField appends a value with the letter of its type: those that
// amqp091-go reads, and as it writes them.
func appendField(b []byte, value any) ([]byte, error) {
	e := binary.BigEndian
	switch v := value.(type) {
	case string:
		return append(e.AppendUint32(append(b, 'S'), uint32(len(v))), v...), nil //nolint:gosec // see long
	case []byte:
		return append(e.AppendUint32(append(b, 'x'), uint32(len(v))), v...), nil //nolint:gosec // see long
	case amqp.Table:
		return appendFields(append(b, 'F'), v)
	case []any:
		return long(append(b, 'A'), func(b []byte) ([]byte, error) {
			var err error
			for _, item := range v {
				if b, err = appendField(b, item); err != nil {
					return nil, err
				}
			}
			return b, nil
		})
	case nil:
		return append(b, 'V'), nil
	case bool:
		if v {
			return append(b, 't', 1), nil
		}
		return append(b, 't', 0), nil
	case int8:
		return append(b, 'b', uint8(v)), nil //nolint:gosec // a sign is kept, here and below
	case uint8:
		return append(b, 'B', v), nil
	case int16:
		return e.AppendUint16(append(b, 's'), uint16(v)), nil //nolint:gosec // as above
	case uint16:
		return e.AppendUint16(append(b, 'u'), v), nil
	case int32:
		return e.AppendUint32(append(b, 'I'), uint32(v)), nil //nolint:gosec // as above
	case uint32:
		return e.AppendUint32(append(b, 'i'), v), nil
	case int64:
		return e.AppendUint64(append(b, 'l'), uint64(v)), nil //nolint:gosec // as above
	case float32:
		return e.AppendUint32(append(b, 'f'), math.Float32bits(v)), nil
	case float64:
		return e.AppendUint64(append(b, 'd'), math.Float64bits(v)), nil
	case amqp.Decimal:
		return e.AppendUint32(append(b, 'D', v.Scale), uint32(v.Value)), nil //nolint:gosec // as above
	case time.Time:
		return appendTime(append(b, 'T'), v), nil
	}
	return nil, fmt.Errorf("header of type %T has no type in AMQP", value)
}
