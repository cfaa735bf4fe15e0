package kafkabroker

import (
	"cmp"
	"errors"
	"slices"
	"time"
)

const (
	// partitionsAge is how often it is looked which partitions a topic has, and
	// which of them a leader: in what sarama knows, which asks every minute.
	partitionsAge = 5 * time.Second

	// learnTime is how long it is asked for a topic's partitions: one that was
	// made just now is not known everywhere.
	learnTime = time.Second
)

var errSilent = errors.New("no broker answers what was asked about the topic")

// pauses between tries, by their number.
var pauses = jittered(50*time.Millisecond, 500*time.Millisecond)

// outlets are the partitions of a topic, as a stream fills them.
type outlets struct {
	topic       string
	partitioner partitioner
	all         []*outlet // by number; none: not known yet
	waiting     []parcel  // until they are known
	learning    time.Time // since when that is asked; zero: it is not
	learned     time.Time
}

// choose returns the partition for a record: that of its key, else one that
// takes records.
func (t *outlets) choose(p parcel) *outlet {
	o := t.all[t.partitioner.choose(p.record.key, p.record.size(), len(t.all))]
	if p.record.key != nil {
		return o
	}
	for range t.all {
		if o.well() {
			return o
		}
		o = t.all[(int(o.number)+1)%len(t.all)]
	}
	return o
}

// learn finds out which partitions a topic has.
func (s *stream) learn(t *outlets) {
	since := time.Now()
	t.learning = since
	s.work.Go(func() { s.limitLearning(t, since) })
	s.work.Go(func() { s.ask(t) })
}

func (s *stream) ask(t *outlets) {
	numbers, err := s.link.Partitions(t.topic)
	for tries, begun := 0, time.Now(); err != nil && time.Since(begun) < learnTime && s.ended.Err() == nil; tries++ {
		sleep(s.ended, pauses(tries, 0))
		numbers, err = s.link.Partitions(t.topic)
	}
	writable, _ := s.link.WritablePartitions(t.topic) // an error says that there are none
	s.mu.Lock()
	defer s.mu.Unlock()
	t.learning = time.Time{}
	if err == nil {
		t.learned = time.Now()
		t.grow(len(numbers))
	}
	for _, o := range t.all {
		o.headless = !slices.Contains(writable, o.number)
	}
	if len(t.all) == 0 {
		s.drop(t, err)
	}
	for _, p := range t.waiting {
		s.place(t, p, t.learned)
	}
	t.waiting = nil
}

// limitLearning sees to it that a question that hangs holds nobody up for longer
// than retryTime.
func (s *stream) limitLearning(t *outlets, since time.Time) {
	sleep(s.ended, retryTime)
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.learning.Equal(since) {
		s.drop(t, errSilent)
	}
}

// drop fails what waits for a topic's partitions to be known.
func (s *stream) drop(t *outlets, why error) {
	for _, p := range t.waiting {
		s.settle(&pack{tellers: []teller{p.teller}, size: p.record.size()}, why)
	}
	t.waiting = nil
}

func (t *outlets) grow(partitions int) {
	for n := len(t.all); n < partitions; n++ {
		t.all = append(t.all, &outlet{topic: t.topic, number: int32(n)}) //nolint:gosec // Kafka's numbers are int32
	}
}

// look finds a partition's leader, after a pause if it was tried before.
func (s *stream) look(o *outlet, pause time.Duration) {
	o.looking = true
	if o.since.IsZero() {
		o.since = time.Now()
		s.limit(o)
	}
	s.work.Go(func() {
		sleep(s.ended, pause)
		if pause > 0 {
			// Its error may be about another partition; Leader says what of this.
			_ = s.link.RefreshMetadata(o.topic)
		}
		leader, err := s.link.Leader(o.topic, o.number)
		s.mu.Lock()
		defer s.mu.Unlock()
		o.looking = false
		if err != nil {
			s.retry(o, err)
			return
		}
		if o.tries == 0 || len(o.packs) == 0 {
			o.calm()
		}
		o.pipe = s.pipeTo(leader)
		s.offer(o)
	})
}

// retry looks for a partition's leader again, for as long as something waits
// for it, and no longer than retryTime.
func (s *stream) retry(o *outlet, why error) {
	o.pipe, o.why = nil, why
	switch {
	case len(o.packs) == 0: // it was given up meanwhile
		o.calm()
	case s.ended.Err() != nil, !o.since.IsZero() && time.Since(o.since) > retryTime:
		s.fail(o, why)
	default:
		s.look(o, pauses(o.tries, 0))
		o.tries++
	}
}

// limit sees to it that a lookup that hangs holds nobody up for longer than
// retryTime.
func (s *stream) limit(o *outlet) {
	since := o.since
	s.work.Go(func() {
		sleep(s.ended, retryTime)
		s.mu.Lock()
		defer s.mu.Unlock()
		if !o.looking || !o.since.Equal(since) || s.ended.Err() != nil {
			return
		}
		s.fail(o, cmp.Or(o.why, errSilent))
		o.since = time.Now()
		s.limit(o) // of who comes while it still hangs
	})
}
