package kafkabroker

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

const (
	// retryTime is how long what failed is tried again: a broker may restart in
	// that time without anybody noticing. Callers with shorter deadlines do not
	// wait for it.
	retryTime = 5 * time.Second

	// heldBytes is how much a stream has in hand before those who publish wait.
	heldBytes = 64 << 20
)

// errEnded is of a record that was not sent, and is to be published again.
var errEnded = errors.New("not sent: the producer has ended, another takes its place")

// stream is a producer under one identity of the cluster: the brokers know by
// it, and by the number of each record in its partition, what they have already
// got. Where a number is in doubt for good, the stream ends and the next one
// takes its place (see producer).
//
// It is sarama's connections and wire format with a sending of our own, which
// costs half of sarama's producer and waits less (decision 0021).
type stream struct {
	link  *link
	id    int64
	epoch int16
	work  sync.WaitGroup // pipes, and all that looks something up

	broken chan struct{}   // closed when nothing more goes in
	idle   chan struct{}   // closed when nothing more goes in and nothing is left
	ended  context.Context // done when nothing more goes out
	end    context.CancelFunc

	mu     sync.Mutex
	topics map[string]*outlets
	pipes  map[int32]*pipe // by the broker's id
	left   int             // records that went in and have no result
	held   int             // their bytes
	room   chan struct{}   // closed once there is room again; nil: there is
	closed bool            // nothing more goes in
}

// parcel is a record on its way, and who waits for it.
type parcel struct {
	record record
	alone  bool // it shares no batch
	teller teller
}

// teller knows whom the result of a record is told. That calls nothing of a
// stream.
type teller struct {
	to     pipeline.Confirmer
	number int
}

// openStream asks the cluster for an identity.
func openStream(l *link) (*stream, error) {
	answer, err := l.InitProducerID()
	if err != nil {
		return nil, err
	}
	if err := errorOf(answer.Err); err != nil {
		return nil, err
	}
	s := &stream{
		link: l, id: answer.ProducerID, epoch: answer.ProducerEpoch,
		broken: make(chan struct{}), idle: make(chan struct{}),
		topics: make(map[string]*outlets), pipes: make(map[int32]*pipe),
	}
	s.ended, s.end = context.WithCancel(context.Background())
	return s, nil
}

// put takes a copy of a record, whose result its teller is told. False: the stream
// takes no more, or none before room is closed, which is nil otherwise. It does not
// block.
func (s *stream) put(topic string, p parcel) (taken bool, room <-chan struct{}) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false, nil
	}
	if room := s.await(); room != nil {
		return false, room
	}
	s.left++
	s.held += p.record.size()
	t := s.topics[topic]
	if t == nil {
		t = &outlets{topic: topic}
		s.topics[topic] = t
	}
	now := time.Now()
	if t.learning.IsZero() && now.Sub(t.learned) > partitionsAge {
		s.learn(t)
	}
	if len(t.all) == 0 {
		p.record = p.record.clone()
		t.waiting = append(t.waiting, p)
	} else {
		s.place(t, p, now)
	}
	return true, nil
}

// full returns what is closed once there is room; nil: there is.
func (s *stream) full() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.await()
}

func (s *stream) await() <-chan struct{} {
	if s.held < heldBytes {
		return nil
	}
	if s.room == nil {
		s.room = make(chan struct{})
	}
	return s.room
}

// place puts a record into the partition that it belongs to.
func (s *stream) place(t *outlets, p parcel, now time.Time) {
	o := t.choose(p)
	o.add(p, now)
	if o.pipe == nil && !o.looking {
		s.look(o, 0)
	}
	s.offer(o)
}

// landed takes what became of a partition's batch.
func (s *stream) landed(o *outlet, p *pack, err error) {
	o.flying = false
	switch verdictOf(err, p.doubt) {
	case taken:
		o.next += p.len()
		o.calm()
		s.settle(p, nil)
		if o.spent() {
			s.shut()
		}
	case refused: // its numbers are free for the next
		o.calm()
		s.settle(p, err)
	case again:
		p.doubt = p.doubt || mayHave(err)
		o.back(p)
		s.retry(o, err)
	case fatal:
		// Not for good: it may be there, and what waits behind it was not sent.
		s.settle(p, inDoubt(err))
		s.giveUp(o, errEnded)
	}
	s.offer(o)
}

// fail gives up what waits for a partition that takes nothing.
func (s *stream) fail(o *outlet, why error) {
	if len(o.packs) > 0 && o.packs[0].doubt {
		s.giveUp(o, why)
		return
	}
	o.calm()
	s.settleAll(o, why)
}

// giveUp fails what waits for a partition, and with it the stream: nobody knows
// which of the numbers the broker has.
func (s *stream) giveUp(o *outlet, why error) {
	o.pipe = nil
	s.settleAll(o, why)
	s.shut()
}

func (s *stream) settleAll(o *outlet, err error) {
	for _, p := range o.packs {
		s.settle(p, err)
	}
	o.packs = nil
}

// settle gives the result of all that is in a pack, and frees it.
func (s *stream) settle(p *pack, err error) {
	for _, t := range p.tellers {
		t.to.Confirmed(t.number, err)
	}
	s.left -= len(p.tellers)
	s.held -= p.size
	p.free()
	if s.room != nil && s.held < heldBytes {
		close(s.room)
		s.room = nil
	}
	s.drained()
}

// shut lets nothing more in.
func (s *stream) shut() {
	if !s.closed {
		s.closed = true
		close(s.broken)
		s.drained()
	}
}

func (s *stream) drained() {
	if s.closed && s.left == 0 {
		close(s.idle)
	}
}

// close sends what is on its way, for as long as flushTime, and ends.
func (s *stream) close() {
	s.mu.Lock()
	s.shut()
	s.mu.Unlock()
	late := time.NewTimer(flushTime)
	defer late.Stop()
	select {
	case <-s.idle:
	case <-late.C:
	}
	s.end()
	s.link.close()
	s.work.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.topics {
		for _, o := range t.all {
			s.settleAll(o, errEnded)
		}
	}
}
