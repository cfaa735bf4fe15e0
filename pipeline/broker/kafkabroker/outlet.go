package kafkabroker

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// outlet is a partition as a stream fills it. Its stream's mutex guards it.
//
// One batch of it is on its way at a time. So records stay in their order and
// no number is missing, whatever comes back: what does is sent again first.
type outlet struct {
	topic  string
	number int32
	pipe   *pipe   // to its leader; nil: that is not known
	packs  []*pack // to be sent, in their order
	flying bool    // one is on its way
	next   int32   // the number of the first record that its leader has not taken

	looking  bool      // for its leader
	headless bool      // it had none when that was looked at last
	since    time.Time // when the trouble began; zero: there is none
	tries    int       // that have failed since then
	why      error     // the last of them did
	offered  bool      // it is among its pipe's offers
}

// well reports whether it is likely to take a record.
func (o *outlet) well() bool { return o.tries == 0 && !o.headless }

// calm ends the trouble.
func (o *outlet) calm() { o.since, o.tries, o.why = time.Time{}, 0, nil }

// pack is a batch on its way.
type pack struct {
	encoded []byte // its records
	tellers []teller
	size    int       // bytes, at most
	begun   time.Time // of its first record
	latest  time.Time // of its last
	sealed  bool      // it takes no more
	doubt   bool      // it came back, and the brokers may have it all the same
}

// packs are used again, for their memory.
var packs = sync.Pool{New: func() any { return new(pack) }}

// free gives the pack back, which nobody may hold any more.
func (p *pack) free() {
	if p.reset() {
		packs.Put(p)
	}
}

// reset leaves nothing but memory, and reports whether that is worth keeping. It
// is not where a record was alone because it is large.
func (p *pack) reset() bool {
	large := p.size > batchLimit
	clear(p.tellers)
	*p = pack{encoded: p.encoded[:0], tellers: p.tellers[:0]}
	return !large && cap(p.encoded) > 0
}

func (p *pack) add(r record, t teller, now time.Time) {
	if cap(p.encoded)-len(p.encoded) < r.size() {
		// To twice its size: append would take smaller steps, and more memory in all.
		p.encoded = slices.Grow(p.encoded, max(len(p.encoded), r.size()))
	}
	p.latest = now
	p.encoded = r.appendTo(p.encoded, max(0, now.Sub(p.begun)), int64(len(p.tellers)))
	p.tellers = append(p.tellers, t)
	p.size += r.size()
}

// add puts a record behind the others. It copies it.
func (o *outlet) add(p parcel, now time.Time) {
	var into *pack
	if len(o.packs) > 0 {
		into = o.packs[len(o.packs)-1]
	}
	if into == nil || into.sealed || p.alone || into.size+p.record.size() > batchLimit-batchOverhead {
		into = packs.Get().(*pack)
		into.begun, into.sealed = now.Truncate(time.Millisecond), p.alone
		o.packs = append(o.packs, into)
	}
	into.add(p.record, p.teller, now)
}

// ready reports whether the next pack may be sent.
func (o *outlet) ready() bool { return o.pipe != nil && len(o.packs) > 0 && !o.flying }

// take takes the next pack off, to be sent.
func (o *outlet) take() *pack {
	p := o.packs[0]
	o.packs = slices.Delete(o.packs, 0, 1)
	p.sealed, o.flying, o.offered = true, true, false
	return p
}

// back puts a pack that came back before all others.
func (o *outlet) back(p *pack) {
	o.packs = slices.Insert(o.packs, 0, p)
}

// spent reports whether its numbers come to an end. Kafka would go on with 0; so
// does a new identity.
func (o *outlet) spent() bool { return o.next > math.MaxInt32/2 }

func (p *pack) len() int32 { return int32(len(p.tellers)) } //nolint:gosec // a batch is bounded

// batch is a pack in sarama's words, which only counts the records.
func (p *pack) batch(id int64, epoch int16, first int32) *sarama.RecordBatch {
	b := &sarama.RecordBatch{
		Version: 2, FirstTimestamp: p.begun, MaxTimestamp: p.latest,
		ProducerID: id, ProducerEpoch: epoch, FirstSequence: first,
		Records: make([]*sarama.Record, p.len()), LastOffsetDelta: p.len() - 1,
	}
	setEncoded(b, p.encoded)
	return b
}
