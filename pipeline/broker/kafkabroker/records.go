package kafkabroker

import (
	"encoding/binary"
	"math/bits"
	"reflect"
	"time"
	"unsafe"

	"github.com/IBM/sarama"
)

// encodedAt is where in a sarama.RecordBatch its records are once they are encoded.
// sarama has no other way to take them so, and encodes them only where there are
// none: by way of an interface, twice, and into memory of its own (decision 0021).
// -1: this sarama keeps them elsewhere, and has to encode them.
var encodedAt = func() int {
	f, ok := reflect.TypeFor[sarama.RecordBatch]().FieldByName("compressedRecords")
	if !ok || f.Type != reflect.TypeFor[[]byte]() {
		return -1
	}
	return int(f.Offset) //nolint:gosec // it is within the struct
}()

// setEncoded gives a batch its records encoded.
func setEncoded(b *sarama.RecordBatch, records []byte) {
	*(*[]byte)(unsafe.Add(unsafe.Pointer(b), encodedAt)) = records //nolint:gosec // see encodedAt
}

// appendRecord appends a record as a batch has it.
func appendRecord(b []byte, r *sarama.Record) []byte {
	delta := int64(r.TimestampDelta / time.Millisecond)
	size := 1 + varintSize(delta) + varintSize(r.OffsetDelta) + bytesSize(r.Key) + bytesSize(r.Value) + varintSize(int64(len(r.Headers)))
	for _, h := range r.Headers {
		size += bytesSize(h.Key) + bytesSize(h.Value)
	}
	b = binary.AppendVarint(b, int64(size))
	b = append(b, byte(r.Attributes)) //nolint:gosec // bits
	b = binary.AppendVarint(b, delta)
	b = binary.AppendVarint(b, r.OffsetDelta)
	b = appendBytes(b, r.Key)
	b = appendBytes(b, r.Value)
	b = binary.AppendVarint(b, int64(len(r.Headers)))
	for _, h := range r.Headers {
		b = appendBytes(b, h.Key)
		b = appendBytes(b, h.Value)
	}
	return b
}

// appendBytes appends bytes with their size before them; nil are none.
func appendBytes(b, bytes []byte) []byte {
	if bytes == nil {
		return binary.AppendVarint(b, -1)
	}
	return append(binary.AppendVarint(b, int64(len(bytes))), bytes...)
}

func bytesSize(bytes []byte) int {
	if bytes == nil {
		return varintSize(-1)
	}
	return varintSize(int64(len(bytes))) + len(bytes)
}

// varintSize is how many bytes a number takes, whose sign is its last bit.
func varintSize(n int64) int {
	return (bits.Len64(uint64(n<<1)^uint64(n>>63)|1) + 6) / 7 //nolint:gosec // bits
}
