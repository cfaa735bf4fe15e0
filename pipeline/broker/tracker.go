package broker

import "slices"

// tracker knows which positions of a claim are done. Positions are added in
// rising order, with gaps where the broker has them, and are done in any
// order. It is a ring, so that a long-lived claim allocates nothing.
type tracker struct {
	ring []entry // len is a power of two
	head int     // index of the oldest entry
	size int
	upTo int64   // the last position of the done prefix
	news []int64 // done and not yet told
}

type entry struct {
	pos   int64
	state entryState
}

type entryState uint8

const (
	entryOpen entryState = iota
	entryDone
	entryGiven // given back to the broker
)

const noPosition = -1

func newTracker() tracker { return tracker{ring: make([]entry, 64), upTo: noPosition} }

func (t *tracker) at(i int) *entry { return &t.ring[(t.head+i)&(len(t.ring)-1)] }

// add appends a position, which must be above all before it.
func (t *tracker) add(pos int64) {
	if t.size == len(t.ring) {
		t.grow()
	}
	t.size++
	*t.at(t.size - 1) = entry{pos: pos}
}

func (t *tracker) grow() {
	ring := make([]entry, 2*len(t.ring))
	for i := range t.size {
		ring[i] = *t.at(i)
	}
	t.ring, t.head = ring, 0
}

// mark sets the state of an open position; of any other it does nothing.
func (t *tracker) mark(pos int64, state entryState) {
	lo, hi := 0, t.size
	for lo < hi {
		if mid := int(uint(lo+hi) >> 1); t.at(mid).pos < pos {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	if lo == t.size || t.at(lo).pos != pos || t.at(lo).state != entryOpen {
		return
	}
	if t.at(lo).state = state; state == entryDone {
		t.news = append(t.news, pos)
	}
}

// Progress is what a claim has done since it was last asked.
type Progress struct {
	// UpTo is the last position of the prefix in which everything is done, or
	// -1 if the first position is still open.
	UpTo int64
	// Moved says that UpTo has moved since the last time.
	Moved bool
	// Prefix has the positions that joined the prefix since the last time
	// and were not told in Above before.
	Prefix []int64
	// Above has the positions above UpTo that are done and were not told
	// before.
	Above []int64
}

// take returns what changed since the last take. The slices of p are reused.
func (t *tracker) take(p Progress) Progress {
	p.Prefix, p.Above, p.Moved = p.Prefix[:0], p.Above[:0], false
	for t.size > 0 && t.at(0).state == entryDone {
		t.upTo, p.Moved = t.at(0).pos, true
		t.head = (t.head + 1) & (len(t.ring) - 1)
		t.size--
	}
	slices.Sort(t.news) // what a slow head holds up is not looked at again
	for _, pos := range t.news {
		if pos <= t.upTo {
			p.Prefix = append(p.Prefix, pos)
		} else {
			p.Above = append(p.Above, pos)
		}
	}
	t.news = t.news[:0]
	p.UpTo = t.upTo
	return p
}

// above lists every position above the prefix that is done.
func (t *tracker) above(into []int64) []int64 {
	for i := range t.size {
		if e := t.at(i); e.state == entryDone {
			into = append(into, e.pos)
		}
	}
	return into
}
