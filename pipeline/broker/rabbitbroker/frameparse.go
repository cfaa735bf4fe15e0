package rabbitbroker

import (
	"math"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

// maxDepth is how deep tables and arrays may be in each other; amqp091-go has the
// same limit.
const maxDepth = 32

// parser reads what is in a frame, and makes no copy of its text. Once something
// is not as it must be, bad is set, nothing is left, and what it returns says
// nothing.
type parser struct {
	left string
	bad  bool
}

// next returns the next n bytes.
func (p *parser) next(n int) string {
	if n > len(p.left) {
		p.fail()
		return ""
	}
	text := p.left[:n]
	p.left = p.left[n:]
	return text
}

func (p *parser) fail() { p.bad, p.left = true, "" }

func (p *parser) uint8() uint8 { return uint8(p.uint(1)) } //nolint:gosec // it is one byte

// uint reads an integer of n bytes.
func (p *parser) uint(n int) (v uint64) {
	for _, b := range []byte(p.next(n)) {
		v = v<<8 | uint64(b)
	}
	return v
}

func (p *parser) short() string { return p.next(int(p.uint8())) }

func (p *parser) long() string {
	n := p.uint(4)
	if n > math.MaxInt32 {
		p.fail()
		return ""
	}
	return p.next(int(n))
}

func (p *parser) time() time.Time { return time.Unix(int64(p.uint(8)), 0) } //nolint:gosec // a sign is kept

// header reads a content header into d and, of its headers, into fields, and
// returns the size of the body.
func (p *parser) header(d *amqp.Delivery, fields []field) (uint64, []field) {
	p.next(4) // class and weight
	size, flags := p.uint(8), p.uint(2)
	has := func(bit int) bool { return flags>>bit&1 == 1 }
	text := func(bit int) string {
		if has(bit) {
			return p.short()
		}
		return ""
	}
	d.ContentType = text(15)
	d.ContentEncoding = text(14)
	if has(13) {
		fields = p.fields(fields)
	}
	if has(12) {
		d.DeliveryMode = p.uint8()
	}
	if has(11) {
		d.Priority = p.uint8()
	}
	d.CorrelationId = text(10)
	d.ReplyTo = text(9)
	d.Expiration = text(8)
	d.MessageId = text(7)
	if has(6) {
		d.Timestamp = p.time()
	}
	d.Type = text(5)
	d.UserId = text(4)
	d.AppId = text(3)
	return size, fields
}

// fewFields is up to how many headers are looked through for one that comes twice.
const fewFields = 32

// fields reads a message's headers. As in a map, of two of one name the last counts.
func (p *parser) fields(fields []field) []field {
	all := p.long()
	in := parser{left: all}
	for len(in.left) > 0 && len(fields) < fewFields {
		f := field{name: in.short()}
		if len(in.left) > 0 && in.left[0] == 'S' {
			in.next(1)
			f.text, f.plain = in.long(), true
		} else {
			f.value = in.value(0)
		}
		if at := indexOf(fields, f.name); at >= 0 {
			fields[at] = f
		} else {
			fields = append(fields, f)
		}
	}
	if len(in.left) > 0 {
		in = parser{left: all}
		fields = appendFieldsOf(fields[:0], in.pairs(0))
	}
	p.join(&in)
	return fields
}

// join fails if in has, which has read a part.
func (p *parser) join(in *parser) {
	if in.bad {
		p.fail()
	}
}

// pairs reads all that is left as the pairs of a table.
func (p *parser) pairs(depth int) amqp.Table {
	table := amqp.Table{}
	for len(p.left) > 0 {
		name := p.short()
		table[name] = p.value(depth)
	}
	return table
}

// value reads the letter of a type and a value: those that amqp091-go reads, and
// as it returns them.
func (p *parser) value(depth int) any {
	switch p.next(1) {
	case isBool:
		return p.uint8() != 0
	case isInt8:
		return int8(p.uint(1)) //nolint:gosec // a sign is kept, here and below
	case isUint8:
		return p.uint8()
	case isInt16:
		return int16(p.uint(2)) //nolint:gosec // as above
	case isUint16:
		return uint16(p.uint(2)) //nolint:gosec // as above
	case isInt32:
		return int32(p.uint(4)) //nolint:gosec // as above
	case isUint32:
		return uint32(p.uint(4)) //nolint:gosec // as above
	case isInt64:
		return int64(p.uint(8)) //nolint:gosec // as above
	case isFloat32:
		return math.Float32frombits(uint32(p.uint(4))) //nolint:gosec // as above
	case isFloat64:
		return math.Float64frombits(p.uint(8))
	case isDecimal:
		return amqp.Decimal{Scale: p.uint8(), Value: int32(p.uint(4))} //nolint:gosec // as above
	case isTime:
		return p.time()
	case isText:
		return p.long()
	case isBytes:
		return []byte(p.long())
	case isNil:
		return nil
	case "F":
		in := p.inner(depth)
		table := in.pairs(depth + 1)
		p.join(in)
		return table
	case "A":
		in, items := p.inner(depth), []any{}
		for len(in.left) > 0 {
			items = append(items, in.value(depth+1))
		}
		p.join(in)
		return items
	}
	p.fail()
	return nil
}

// inner returns the parser of a table or array at that depth.
func (p *parser) inner(depth int) *parser {
	if depth >= maxDepth {
		p.fail()
	}
	return &parser{left: p.long()}
}
