package rabbitbroker

import (
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

const (
	// gatherFor is how long acknowledgements are gathered into one. It costs
	// prefetch, not latency.
	gatherFor = time.Millisecond
	// aboveWait is how long what is done behind a slow message waits for it,
	// before it is acknowledged one by one.
	aboveWait = 25 * time.Millisecond
)

// acker acknowledges what a claim says is done: the prefix with one
// basic.ack multiple, what is done above it one by one, and only once the
// head turns out to be slow.
type acker struct {
	ch       *amqp.Channel
	claim    *broker.Claim
	maxAbove int // as many are acknowledged at once, lest the prefetch runs out

	progress broker.Progress
	above    []int64 // done above the prefix and not acknowledged
	acked    bool    // something was acknowledged; read it after stop

	quit chan struct{}
	done chan struct{}
	once sync.Once
}

func newAcker(ch *amqp.Channel, claim *broker.Claim, prefetch int) *acker {
	return &acker{
		ch: ch, claim: claim, maxAbove: prefetch/4 + 1,
		quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// run acknowledges until stop.
func (a *acker) run() {
	defer close(a.done)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var due <-chan time.Time // timer's, while something above waits
	for {
		select {
		case <-a.claim.Changed():
			a.gather()
			a.flush(false)
		case <-due:
			a.flush(true)
		case <-a.quit:
			a.flush(true)
			return
		}
		switch {
		case len(a.above) == 0:
			due = nil
		case due == nil:
			timer.Reset(aboveWait)
			due = timer.C
		}
	}
}

// gather waits a moment for more.
func (a *acker) gather() {
	timer := time.NewTimer(gatherFor)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.quit:
	}
}

// stop sends what is left and waits for run to end.
func (a *acker) stop() {
	a.once.Do(func() { close(a.quit) })
	<-a.done
}

// flush acknowledges what is done; with all, also above the prefix.
func (a *acker) flush(all bool) {
	a.progress = a.claim.Take(a.progress)
	a.above = append(a.above, a.progress.Above...)
	// RabbitMQ closes the channel for a tag that is not outstanding, also
	// with multiple: so the tag is the highest of the prefix that was not
	// acknowledged above it before.
	tag := int64(0)
	if n := len(a.progress.Prefix); n > 0 {
		tag = a.progress.Prefix[n-1]
	}
	waiting := a.above[:0]
	for _, pos := range a.above {
		if pos <= a.progress.UpTo {
			tag = max(tag, pos)
		} else {
			waiting = append(waiting, pos)
		}
	}
	a.above = waiting
	if tag > 0 {
		a.ack(tag, true)
	}
	if all || len(a.above) >= a.maxAbove {
		for _, pos := range a.above {
			a.ack(pos, false)
		}
		a.above = a.above[:0]
	}
}

// ack sends one acknowledgement. An error means that the channel is lost, and
// with it every message that was not acknowledged.
func (a *acker) ack(tag int64, multiple bool) {
	if a.ch.Ack(uint64(tag), multiple) == nil { //nolint:gosec // a delivery tag, from 1
		a.acked = true
	}
}
