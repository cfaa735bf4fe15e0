package kafkabroker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"math/bits"
	"reflect"
	"sync"
	"time"
	"unsafe"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// encodedAt is where in a sarama.RecordBatch its records are once they are encoded.
// sarama has no other way to take them so, and encodes them only where there are
// none: by way of an interface, twice, and into memory of its own (decision 0021).
// -1: this sarama keeps them elsewhere, and Open refuses.
var encodedAt = func() int {
	f, ok := reflect.TypeFor[sarama.RecordBatch]().FieldByName("compressedRecords")
	if !ok || f.Type != reflect.TypeFor[[]byte]() {
		return -1
	}
	return int(f.Offset) //nolint:gosec // it is within the struct
}()

var errOtherSarama = errors.New("this program is built with a version of sarama that Waybill does not know: build it with the one in Waybill's go.mod")

// setEncoded gives a batch its records encoded.
func setEncoded(b *sarama.RecordBatch, records []byte) {
	*(*[]byte)(unsafe.Add(unsafe.Pointer(b), encodedAt)) = records //nolint:gosec // see encodedAt
}

// record is a record encoded, but for what its batch decides.
type record struct {
	body []byte // key, value and headers
	key  []byte // in body; nil: it has none
}

// headMost is how many bytes a record has before its body, at most.
const headMost = 2*binary.MaxVarintLen32 + binary.MaxVarintLen64 + 1

// size is how many bytes the record takes, at most.
func (r record) size() int { return headMost + len(r.body) }

// clone returns a copy in memory of its own.
func (r record) clone() record {
	c := record{body: bytes.Clone(r.body)}
	if r.key != nil {
		at := varintSize(int64(len(r.key))) // it is the first, behind its size
		c.key = c.body[at : at+len(r.key)]
	}
	return c
}

// appendTo appends the record as a batch has it that began so long before, where it
// is the one of that number.
func (r record) appendTo(b []byte, after time.Duration, number int64) []byte {
	delta := int64(after / time.Millisecond)
	b = binary.AppendVarint(b, int64(1+varintSize(delta)+varintSize(number)+len(r.body)))
	b = append(b, 0) // no attributes
	b = binary.AppendVarint(b, delta)
	b = binary.AppendVarint(b, number)
	return append(b, r.body...)
}

// scratches are where records are encoded until a stream has taken them.
var scratches = sync.Pool{New: func() any { return new(scratch) }}

type scratch struct{ memory []byte }

func newScratch() *scratch { return scratches.Get().(*scratch) }

// encode is encode, into the memory that is here. The record is good until free.
func (s *scratch) encode(topic pipeline.Topic, msg *message.Message) record {
	r := encode(s.memory, topic, msg)
	s.memory = r.body
	return r
}

// free gives it back, unless a record was so large that it would not share a batch.
func (s *scratch) free() {
	if len(s.memory) < batchLimit {
		scratches.Put(s)
	}
}

func appendHeaders(b []byte, headers []sarama.RecordHeader) []byte {
	b = binary.AppendVarint(b, int64(len(headers)))
	for _, h := range headers {
		b = appendBytes(appendBytes(b, h.Key), h.Value)
	}
	return b
}

// appendBytes appends bytes with their size before them; nil are none.
func appendBytes(b, value []byte) []byte {
	if value == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(value))), value...)
}

func appendText(b []byte, text string) []byte {
	return append(binary.AppendVarint(b, int64(len(text))), text...)
}

// varintSize is how many bytes a number takes, whose sign is its last bit.
func varintSize(n int64) int {
	return (bits.Len64(uint64(n<<1)^uint64(n>>63)|1) + 6) / 7 //nolint:gosec // bits
}
