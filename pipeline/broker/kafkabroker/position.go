package kafkabroker

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"math/bits"
	"strings"
)

// maxSpan is how far a partition's newest message taken may be from the first
// that is not done. What is done in between must fit into the metadata of a
// commit: a bit a message, in base64, below Kafka's 4,096 bytes.
const maxSpan = 24_000

// maxMetadata is Kafka's default for offset.metadata.max.bytes.
const maxMetadata = 4096

// position is what a subscription has done of a partition, as it is committed:
// everything below next, and the offsets of above.
type position struct {
	next  int64   // Kafka's committed offset; -1: nothing was committed yet
	above []int64 // done all the same, rising, each greater than next
	// clean says that nothing was in a handler's hands when this was
	// committed, so that no message from next on was handed out before.
	clean bool
}

// The metadata of a commit is the text of a position beside next:
//
//	w1 + ("c" clean | "o" open) + ["r" runs | "b" bits, base64]
//
// Whatever does not begin with w1 was left by another program and says
// nothing. Runs are lengths as varints: not done, done, not done, … from next
// on; bits are one an offset from next on. The shorter of the two is taken.
const (
	metadataVersion = "w1"
	metadataClean   = "c"
	metadataOpen    = "o"
	metadataRuns    = "r"
	metadataBits    = "b"
)

var errMetadata = errors.New("malformed commit metadata")

var metadataEncoding = base64.RawStdEncoding

// metadata returns the metadata to commit with next. It is never longer than
// maxMetadata as long as above spans no more than maxSpan.
func (p position) metadata() string {
	var s strings.Builder
	s.WriteString(metadataVersion)
	if p.clean {
		s.WriteString(metadataClean)
	} else {
		s.WriteString(metadataOpen)
	}
	if len(p.above) == 0 {
		return s.String()
	}
	kind, data := metadataRuns, p.runs()
	if set := p.bits(); len(set) < len(data) {
		kind, data = metadataBits, set
	}
	s.WriteString(kind)
	s.WriteString(metadataEncoding.EncodeToString(data))
	return s.String()
}

func (p position) runs() []byte {
	var data []byte
	at := p.next // everything below is written
	for i := 0; i < len(p.above); {
		first := i
		for i++; i < len(p.above) && p.above[i] == p.above[i-1]+1; i++ {
		}
		data = binary.AppendUvarint(data, uint64(p.above[first]-at)) //nolint:gosec // rising
		data = binary.AppendUvarint(data, uint64(i-first))           //nolint:gosec // a length
		at = p.above[i-1] + 1
	}
	return data
}

func (p position) bits() []byte {
	last := p.above[len(p.above)-1] - p.next
	data := make([]byte, last/8+1)
	for _, offset := range p.above {
		data[(offset-p.next)/8] |= 1 << ((offset - p.next) % 8)
	}
	return data
}

// parsePosition reads what was committed. Metadata that is not ours is no
// error; an error says that ours is damaged, and the position is then good
// for next alone.
func parsePosition(next int64, metadata string) (position, error) {
	p := position{next: next}
	rest, ours := strings.CutPrefix(metadata, metadataVersion)
	if !ours || next < 0 {
		return p, nil
	}
	rest, p.clean = strings.CutPrefix(rest, metadataClean)
	if !p.clean {
		var open bool
		if rest, open = strings.CutPrefix(rest, metadataOpen); !open {
			return p, errMetadata
		}
	}
	if rest == "" {
		return p, nil
	}
	data, err := metadataEncoding.DecodeString(rest[1:])
	if err != nil {
		return position{next: next}, errMetadata
	}
	switch rest[:1] {
	case metadataRuns:
		p.above, err = parseRuns(next, data)
	case metadataBits:
		p.above = parseBits(next, data)
	default:
		err = errMetadata
	}
	if err != nil {
		return position{next: next}, err
	}
	return p, nil
}

func parseRuns(at int64, data []byte) ([]int64, error) {
	var above []int64
	for end := at + maxSpan; len(data) > 0; {
		var run [2]uint64
		for i := range run {
			value, n := binary.Uvarint(data)
			if n <= 0 || value > maxSpan {
				return nil, errMetadata
			}
			run[i], data = value, data[n:]
		}
		at += int64(run[0]) //nolint:gosec // at most maxSpan
		for range run[1] {
			above = append(above, at)
			at++
		}
		if at > end+1 {
			return nil, errMetadata
		}
	}
	return above, nil
}

func parseBits(next int64, data []byte) []int64 {
	var above []int64
	for i, b := range data {
		for ; b != 0; b &= b - 1 {
			above = append(above, next+int64(8*i+bits.TrailingZeros8(b)))
		}
	}
	return above
}
