package journal

import (
	"context"
	"encoding/binary"
	"hash/crc32"
	"sync/atomic"
	"time"
	"unsafe"
)

// slotSize is that of a slot, in bytes. It holds whatever names Waybill allows
// (249 bytes for handler and topic) and 239 bytes of an id.
//
//	0   state: 0 free, writing, or full with the checksum of what follows
//	8   Unix seconds
//	16  1: it runs alone
//	17  length of the handler's name
//	18  of the topic's
//	19  of the id
//	20  the three texts
const (
	slotSize = 512
	slotHead = 20
	maxText  = slotSize - slotHead
	maxID    = 239
)

const (
	free    = 0
	writing = 1
	full    = 1 << 63
)

// noSlot is what take returns when all slots are full.
const noSlot = -1

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// run is what a slot says.
type run struct {
	handler, topic, id string
	since              time.Time
	alone              bool
}

// slots is a table of slots in memory, which a file may be mapped into. It is
// for any number of goroutines.
type slots struct {
	memory []byte // whole slots; 8 bytes aligned
	number uint32
	next   atomic.Uint32
	now    atomic.Int64 // Unix seconds, see tick: to ask for the time would cost a quarter of the whole
}

func newSlots(memory []byte) *slots {
	s := &slots{memory: memory, number: uint32(len(memory) / slotSize)} //nolint:gosec // some thousands
	s.now.Store(time.Now().Unix())
	return s
}

// tick keeps the time until ctx is done.
func (s *slots) tick(ctx context.Context) {
	seconds := time.NewTicker(time.Second)
	defer seconds.Stop()
	for {
		select {
		case now := <-seconds.C:
			s.now.Store(now.Unix())
		case <-ctx.Done():
			return
		}
	}
}

// state is the first word of a slot.
func (s *slots) state(i int) *atomic.Uint64 {
	return (*atomic.Uint64)(unsafe.Pointer(&s.memory[i*slotSize]))
}

// take fills a free slot and returns which. names is that of label.
func (s *slots) take(names label, id string, alone bool) int {
	first := s.next.Add(1)
	for i := range s.number {
		n := int((first + i) % s.number)
		// The look before spares the cache line of a slot that is full.
		if state := s.state(n); state.Load() == free && state.CompareAndSwap(free, writing) {
			s.fill(n, names, id, alone)
			return n
		}
	}
	return noSlot
}

func (s *slots) fill(n int, names label, id string, alone bool) {
	slot := s.memory[n*slotSize : (n+1)*slotSize]
	binary.NativeEndian.PutUint64(slot[8:], uint64(s.now.Load())) //nolint:gosec // after 1970
	slot[16] = 0
	if alone {
		slot[16] = 1
	}
	slot[17], slot[18], slot[19] = names.handler, names.topic, byte(len(id))
	end := slotHead + copy(slot[slotHead:], names.text)
	end += copy(slot[end:], id)
	// Last: a process that dies before leaves a slot that says nothing.
	s.state(n).Store(full | uint64(crc32.Checksum(slot[8:end], castagnoli)))
}

// leave frees a slot.
func (s *slots) leave(n int) {
	if n != noSlot {
		s.state(n).Store(free)
	}
}

// clear frees all slots.
func (s *slots) clear() {
	for n := range int(s.number) {
		s.leave(n)
	}
}

// label is what all slots of a handler begin with.
type label struct {
	text           string
	handler, topic byte // their lengths
}

// newLabel cuts the topic, which is for people only, where the two are longer
// than a slot has room for.
func newLabel(handler, topic string) label {
	room := maxText - maxID - len(handler)
	topic = topic[:max(0, min(len(topic), room))]
	return label{handler + topic, byte(len(handler)), byte(len(topic))} //nolint:gosec // names are at most 249 bytes
}

// parse returns what the slots of a file say. A slot that was being written,
// or whose checksum is not that of its content, says nothing.
func parse(file []byte) []run {
	var runs []run
	for ; len(file) >= slotSize; file = file[slotSize:] {
		slot := file[:slotSize]
		state := binary.NativeEndian.Uint64(slot)
		handler, topic, id := int(slot[17]), int(slot[18]), int(slot[19])
		end := slotHead + handler + topic + id
		if end > slotSize || state != full|uint64(crc32.Checksum(slot[8:end], castagnoli)) {
			continue
		}
		text := string(slot[slotHead:end])
		runs = append(runs, run{
			handler: text[:handler], topic: text[handler : handler+topic], id: text[handler+topic:],
			since: time.Unix(int64(binary.NativeEndian.Uint64(slot[8:])), 0), alone: slot[16] == 1, //nolint:gosec // as it was written
		})
	}
	return runs
}
