package job

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"
)

// Orders makes the orders of a run. They depend on nothing but its fields, so
// that a checker can make them again.
type Orders struct {
	Keys int // how many keys they are spread over, at random
	Size int // bytes of an order, roughly; 0: 932, with four lines
}

// DefaultSize is the size of an order unless told otherwise.
const DefaultSize = 932

// KeyPointer is where an order's key is.
const KeyPointer = "/customer"

// Key is the key of the order of that number.
func (o Orders) Key(seq int) string {
	// One step of a small generator: the same number has the same key, and
	// neighbours have nothing to do with each other.
	r := rand.NewPCG(uint64(seq), 0x5eed)
	return "c-" + strconv.FormatUint(r.Uint64()%uint64(max(1, o.Keys)), 10)
}

// ID is the id of the message that carries the order.
func ID(seq int) string { return fmt.Sprintf("00000000-0000-7000-8000-%012d", seq) }

// small is below which size an order has one line and no more.
const small = 600

// Order returns the order of that number. due is when it ought to be
// published, for measuring latency; the zero time where nobody measures.
func (o Orders) Order(seq int, due time.Time) []byte {
	size := o.Size
	if size == 0 {
		size = DefaultSize
	}
	var nanos int64
	if !due.IsZero() {
		nanos = due.UnixNano()
	}
	b := bytes.NewBuffer(make([]byte, 0, size+16))
	fmt.Fprintf(b, `{"orderId":"o-%d","customer":"%s","seq":%d,"due":%d`, seq, o.Key(seq), seq, nanos)
	if size < small {
		b.WriteString(`,"order_lines":[{"type":"lens","quantity":1}]}`)
		return b.Bytes()
	}
	b.WriteString(`,"currency":"EUR","order_lines":[`)
	for i, kind := range [...]string{"frame", "lens", "case", "lens"} {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(b, `{"sku":"%s-%06d","type":"%s","name":"%s of order %d","quantity":%d,"price":%d.50,"tax":0.19}`,
			kind, (seq+i)%1_000_000, kind, kind, seq, 1+(seq+i)%3, 10+i)
	}
	b.WriteString(`],"note":"`)
	const tail = `","total":142.00}`
	for n := size - b.Len() - len(tail); n > 0; n -= len(filler) {
		b.WriteString(filler[:min(n, len(filler))])
	}
	b.WriteString(tail)
	return b.Bytes()
}

const filler = "Leave it with the neighbour, please; ring twice, since the bell is hard to hear. "

// KeyHeader is the message header that has the order's key, for adapters that
// do not look into payloads or at Kafka's key.
const KeyHeader = "bench_key"

// IDHeader is the message header that has its id, as Watermill's adapters have
// it.
const IDHeader = "_watermill_message_uuid"
