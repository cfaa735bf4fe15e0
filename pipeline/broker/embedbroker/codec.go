package embedbroker

import (
	"encoding/binary"
	"errors"
	"slices"
)

var errCorrupt = errors.New("the record is damaged: restore the file from a backup, or move it away to begin anew")

// encodeMetadata writes keys and values, each behind its length, in the order
// of the keys. Nothing is lost: values may be any bytes.
func encodeMetadata(meta map[string]string) []byte {
	if len(meta) == 0 {
		return nil
	}
	size := 0
	keys := make([]string, 0, 16) // stays on the stack
	for k, v := range meta {
		size += len(k) + len(v) + 2*binary.MaxVarintLen16
		keys = append(keys, k)
	}
	slices.Sort(keys)
	b := make([]byte, 0, size)
	for _, k := range keys {
		b = appendText(b, k)
		b = appendText(b, meta[k])
	}
	return b
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func decodeMetadata(b []byte) (map[string]string, error) {
	meta := make(map[string]string)
	for len(b) > 0 {
		var k, v string
		var ok bool
		if k, b, ok = cutText(b); !ok {
			return nil, errCorrupt
		}
		if v, b, ok = cutText(b); !ok {
			return nil, errCorrupt
		}
		meta[k] = v
	}
	return meta, nil
}

func cutText(b []byte) (text string, rest []byte, ok bool) {
	n, used := binary.Uvarint(b)
	if used <= 0 || n > uint64(len(b)-used) {
		return "", nil, false
	}
	b = b[used:]
	return string(b[:n]), b[n:], true
}

// positionEncoder writes rising positions as runs: how many are left out, how
// many are there, and so on. It is short for what a cursor has: a few open
// messages, and everything done between them.
type positionEncoder struct {
	b    []byte
	next int64 // behind the last position that was added
	skip int64 // left out before the run
	run  int64 // length of the run under way
}

func (e *positionEncoder) add(pos int64) {
	if pos != e.next {
		e.flush()
		e.skip = pos - e.next
	}
	e.run++
	e.next = pos + 1
}

func (e *positionEncoder) flush() {
	if e.run > 0 {
		e.b = binary.AppendUvarint(e.b, uint64(e.skip)) //nolint:gosec // positions rise
		e.b = binary.AppendUvarint(e.b, uint64(e.run))  //nolint:gosec // likewise
	}
	e.run = 0
}

// bytes ends the last run; nil if nothing was added.
func (e *positionEncoder) bytes() []byte {
	e.flush()
	return e.b
}

// maxRun bounds what a damaged record can make of a few bytes.
const maxRun = 1 << 24

// decodePositions reads what a positionEncoder has written that began behind
// upto.
func decodePositions(upto int64, b []byte) ([]int64, error) {
	var positions []int64
	next := upto + 1
	for len(b) > 0 {
		skip, used := binary.Uvarint(b)
		if used <= 0 || skip > 1<<placeBits {
			return nil, errCorrupt
		}
		b = b[used:]
		run, used := binary.Uvarint(b)
		if used <= 0 || run == 0 || run > maxRun {
			return nil, errCorrupt
		}
		b = b[used:]
		next += int64(skip)
		for range run {
			positions = append(positions, next)
			next++
		}
	}
	return positions, nil
}
