package rabbitbroker

import (
	"slices"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// sweepEvery is how often it is looked whether others were confirmed while the
// first was not: they may go to another queue, and that one may be stuck.
const sweepEvery = 5 * time.Millisecond

// followed is a message for whose confirm nobody waits. Where it must be sent
// again that is up to whoever began it.
type followed struct {
	job
	to     pipeline.Confirmer
	number int
}

// sent are those of a confirmer that its follow has not seen yet.
type sent struct {
	woken chan struct{} // holds a token while there are some

	mu    sync.Mutex
	added []*followed // as they were sent
	over  bool        // nobody looks at them any more
}

// add adds one that was sent. False: the channel has ended.
func (s *sent) add(one *followed) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.over {
		return false
	}
	s.added = append(s.added, one)
	select {
	case s.woken <- struct{}{}:
	default:
	}
	return true
}

// take appends those that were added since to waiting. last: nobody comes again.
func (s *sent) take(waiting []*followed, last bool) []*followed {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = last
	waiting = append(waiting, s.added...)
	clear(s.added)
	s.added = s.added[:0]
	return waiting
}

// Start implements broker.Broker.
func (b *Broker) Start(topic string, msg *message.Message, to pipeline.Confirmer, number int) bool {
	p := b.publisher
	return p.start(&followed{job: p.prepare(topic, msg), to: to, number: number})
}

// start sends a message if that can be done at once.
func (p *publisher) start(f *followed) bool {
	if f.done { // something is wrong with it
		return false
	}
	p.mu.Lock()
	c := p.current
	p.mu.Unlock()
	if c == nil || !p.exchanges.isKnown(f.out.exchange) || c.fits(&f.job) != nil || !c.room.TryAcquire(f.charge()) {
		return false
	}
	c.send(&f.job)
	if f.sent && !c.sent.add(f) { // the channel has just ended
		c.room.Release(f.charge())
		return false
	}
	return f.sent
}

// follow tells what becomes of messages until the channel has ended, which ends
// them all. It takes them in the order in which they were sent: amqp091-go ends
// those of a multiple confirm in any.
func (c *confirmer) follow() {
	sweep := newAlarm()
	defer sweep.timer.Stop()
	var waiting []*followed
	for {
		var first <-chan struct{}
		if len(waiting) > 0 {
			first = waiting[0].confirm.Done()
		}
		sweep.set(first != nil, sweepEvery)
		select {
		case <-first:
			waiting = c.tellFirst(waiting)
		case <-c.sent.woken:
			waiting = c.sent.take(waiting, false)
		case <-sweep.due:
			sweep.set(false, 0)
			waiting = c.tellAll(waiting)
		case <-c.gone:
			for _, f := range c.sent.take(waiting, true) {
				<-f.confirm.Done()
				c.tell(f)
			}
			return
		}
	}
}

// tellFirst tells of the first, of which confirms are there.
func (c *confirmer) tellFirst(waiting []*followed) []*followed {
	n := 0
	for n < len(waiting) && waiting[n].isConfirmed() {
		c.tell(waiting[n])
		n++
	}
	return slices.Delete(waiting, 0, n)
}

// tellAll tells of all of which confirms are there.
func (c *confirmer) tellAll(waiting []*followed) []*followed {
	return slices.DeleteFunc(waiting, func(f *followed) bool {
		if !f.isConfirmed() {
			return false
		}
		c.tell(f)
		return true
	})
}

func (c *confirmer) tell(f *followed) {
	c.settle(&f.job)
	err := f.err
	if !f.done {
		err = f.why
	}
	f.to.Confirmed(f.number, err)
}

func (f *followed) isConfirmed() bool {
	select {
	case <-f.confirm.Done():
		return true
	default:
		return false
	}
}
