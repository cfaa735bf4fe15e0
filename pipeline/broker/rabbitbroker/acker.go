package rabbitbroker

import (
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

const (
	// gatherFor and gatherMost bound how long, and how many, finished
	// messages are gathered into one acknowledgement: for a quorum queue each
	// is an entry of its log. That costs prefetch, and so less of it is
	// gathered where the prefetch is small; it costs no latency.
	gatherFor  = 5 * time.Millisecond
	gatherMost = 64
	// What is finished behind a message waits for it, before it is acknowledged
	// one by one. While enough others run it waits for busyFor, since another was
	// the first that is not finished: with an order of keys that is mostly one that
	// waited for another of its key, and is done soon, and an acknowledgement of
	// its own costs a classic queue half of all else that a message does. Where
	// what waits keeps others from running it waits for gatherFor, and starvedFor
	// for each message of the prefetch, of which so many more would be acknowledged
	// singly: a part of the prefetch is not much to lose, but handlers are. Else,
	// and at most, for quietFor.
	busyFor    = 100 * time.Millisecond
	quietFor   = 25 * time.Millisecond
	starvedFor = 10 * time.Microsecond
)

// acker acknowledges what a claim says is done: the prefix with one
// basic.ack multiple, what is done above it one by one, and only once the
// head turns out to be slow.
type acker struct {
	ch          *amqp.Channel
	claim       *broker.Claim
	prefetch    int
	concurrency int

	progress broker.Progress
	tag      int64   // up to which all is done, and outstanding itself; 0: nothing new
	below    int     // how many it stands for
	above    []int64 // done above the prefix and not acknowledged
	acked    bool    // something was acknowledged; read it after stop

	quit chan struct{}
	done chan struct{}
	once sync.Once
}

func newAcker(ch *amqp.Channel, claim *broker.Claim, prefetch, concurrency int) *acker {
	return &acker{
		ch: ch, claim: claim, prefetch: prefetch, concurrency: concurrency,
		quit: make(chan struct{}), done: make(chan struct{}),
	}
}

// run acknowledges until stop.
func (a *acker) run() {
	defer close(a.done)
	below, above := newAlarm(), newAlarm()
	defer below.timer.Stop()
	defer above.timer.Stop()
	for {
		select {
		case <-a.claim.Changed():
			if a.collect() && !a.starves() {
				above.set(false, 0) // another is the first now
			}
		case <-below.due:
			a.ackBelow()
		case <-above.due:
			a.ackAbove()
		case <-a.quit:
			a.collect()
			a.ackBelow()
			a.ackAbove()
			return
		}
		if a.below >= min(a.prefetch/16+1, gatherMost) {
			a.ackBelow()
		}
		below.set(a.below > 0, gatherFor)
		above.set(len(a.above) > 0, a.patience())
	}
}

// patience is how long what is above waits from now on.
func (a *acker) patience() time.Duration {
	switch {
	case a.starves():
		return min(gatherFor+time.Duration(a.prefetch)*starvedFor, quietFor)
	case a.claim.Running() >= a.concurrency:
		return busyFor
	}
	return quietFor
}

// starves reports whether what is above takes much of the prefetch, and others
// may soon be missing that run.
func (a *acker) starves() bool {
	return len(a.above) > a.prefetch/4 && a.claim.Running() < 2*a.concurrency
}

// stop sends what is left and waits for run to end.
func (a *acker) stop() {
	a.once.Do(func() { close(a.quit) })
	<-a.done
}

// collect takes what is newly done, and reports whether the prefix has grown.
//
// RabbitMQ closes the channel for a tag that is not outstanding, also with
// multiple. So tag is not simply the end of the prefix, which may have been
// acknowledged above it before, but the highest in it that was not.
func (a *acker) collect() (grown bool) {
	a.progress = a.claim.Take(a.progress)
	a.below += len(a.progress.Prefix)
	if n := len(a.progress.Prefix); n > 0 {
		a.tag = max(a.tag, a.progress.Prefix[n-1])
	}
	a.above = append(a.above, a.progress.Above...)
	waiting := a.above[:0]
	for _, pos := range a.above {
		if pos > a.progress.UpTo {
			waiting = append(waiting, pos)
			continue
		}
		a.tag = max(a.tag, pos)
		a.below++
	}
	a.above = waiting
	return a.progress.Moved
}

func (a *acker) ackBelow() {
	if a.tag > 0 {
		a.ack(a.tag, true)
	}
	a.tag, a.below = 0, 0
}

func (a *acker) ackAbove() {
	for _, pos := range a.above {
		a.ack(pos, false)
	}
	a.above = a.above[:0]
}

// ack sends one acknowledgement. An error means that the channel is lost, and
// with it every message that was not acknowledged.
func (a *acker) ack(tag int64, multiple bool) {
	if a.ch.Ack(uint64(tag), multiple) == nil { //nolint:gosec // a delivery tag, from 1
		a.acked = true
	}
}

// alarm is a timer that runs while something waits.
type alarm struct {
	timer *time.Timer
	at    time.Time        // when it is due
	due   <-chan time.Time // nil while nothing waits
}

func newAlarm() *alarm {
	timer := time.NewTimer(time.Hour)
	timer.Stop()
	return &alarm{timer: timer}
}

// set has the alarm due after d, or before if it is already, if something waits,
// and stops it if nothing does.
func (a *alarm) set(waits bool, d time.Duration) {
	if !waits {
		a.timer.Stop()
		a.due = nil
		return
	}
	if at := time.Now().Add(d); a.due == nil || at.Before(a.at) {
		a.timer.Reset(d)
		a.at, a.due = at, a.timer.C
	}
}
