package kafkabroker

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

const (
	takeEvery   = 50 * time.Millisecond  // how often a claim is asked what is done: it frees its span
	commitEvery = 250 * time.Millisecond // how often that is committed, at most
	commitTime  = 5 * time.Second        // how long the last commit of a revoked partition may take
	lostTime    = time.Second            // how long to doubt that the group has gone on without us
)

// ledger knows what is done of a partition and tells Kafka.
type ledger struct {
	p     *partition
	claim *broker.Claim

	mu    sync.Mutex
	start int64
	known []int64 // done before we began, and not yet come by; rising

	progress broker.Progress
	written  position // what Kafka has
}

// newLedger begins a ledger at a position that is committed.
func newLedger(p *partition, claim *broker.Claim, start position) *ledger {
	return &ledger{p: p, claim: claim, start: start.next, known: start.above, written: start}
}

// knows reports whether the message at offset was done before we began, and
// tells the claim.
func (l *ledger) knows(offset int64) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if offset < l.start {
		return true
	}
	for len(l.known) > 0 && l.known[0] < offset { // compaction has taken it
		l.known = l.known[1:]
	}
	if len(l.known) == 0 || l.known[0] != offset {
		return false
	}
	l.claim.Skip(offset)
	l.known = l.known[1:]
	return true
}

// take asks the claim how far everything is done, which frees its span. It is
// for one goroutine at a time, as position is.
func (l *ledger) take() { l.progress = l.claim.Take(l.progress) }

// position returns what is done.
func (l *ledger) position() position {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.take()
	at := position{next: l.start}
	if l.progress.UpTo >= 0 {
		at.next = l.progress.UpTo + 1
	}
	at.above = append(l.claim.Above(nil), l.known...)
	// What was known may have joined the prefix as it came by.
	at.above = slices.DeleteFunc(at.above, func(offset int64) bool { return offset < at.next })
	return at
}

// keep commits what is done, soon after it is, until stop is closed.
func (l *ledger) keep(stop <-chan struct{}) {
	var last time.Time
	for {
		select {
		case <-stop:
			return
		case <-l.claim.Changed():
		}
		for dirty := true; dirty; {
			select {
			case <-stop:
				return
			case <-time.After(takeEvery):
			}
			if time.Since(last) < commitEvery {
				l.take()
				continue
			}
			dirty = l.commit(l.position()) != nil
			last = time.Now()
		}
	}
}

// commit writes the position. While the group rebalances the coordinator may
// refuse it; the next one will say the same and more.
func (l *ledger) commit(at position) error {
	p := l.p
	err := p.b.within(p.hard, lastWords, func() error {
		return p.committer.write(p.as, map[int32]position{p.number: at})
	})
	if err != nil {
		p.told.warn(p.log, "commit; trying on", err)
		return err
	}
	l.written = at
	return nil
}

// settle is the last commit, and insists. What it fails to say is done again,
// unless the partition comes back here. finished: nothing is left in a
// handler's hands.
func (l *ledger) settle(finished bool) {
	at := l.position()
	at.clean = finished
	ctx := l.p.hard
	if l.p.intake.Err() == nil {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, commitTime)
		defer cancel()
	}
	var lost time.Time
	err := insist(ctx, func() error {
		err := l.commit(at)
		if !errors.Is(err, errLost) {
			return err
		}
		if lost.IsZero() {
			lost = time.Now()
		}
		if time.Since(lost) > lostTime {
			return final(err)
		}
		return err
	})
	if err != nil {
		l.p.log.Warn("what is done could not be committed; finished messages may be handled again",
			"next", at.next, "error", err)
		l.p.remember(l.p.number, unsaved{written: l.written, done: at})
	}
}

// unsaved is what a ledger could not commit, as when the broker was away for
// longer than it insisted.
type unsaved struct{ written, done position }

// holds reports whether u still holds when Kafka has the position at: nobody
// has committed anything since, and the topic is the same (with a topic that
// is deleted, what was committed goes too).
func (u unsaved) holds(at position) bool {
	return at.next == u.written.next && at.metadata() == u.written.metadata()
}

// final marks an error that insist returns at once.
func final(err error) error { return backoff.Permanent(err) }

// insist calls f until it succeeds, its error is final or ctx is done, and
// once at least.
func insist(ctx context.Context, f func() error) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval, pause.MaxInterval = 20*time.Millisecond, 500*time.Millisecond
	for {
		err := f()
		var last *backoff.PermanentError
		if err == nil {
			return nil
		}
		if errors.As(err, &last) {
			return last.Unwrap()
		}
		if ctx.Err() != nil {
			return err
		}
		sleep(ctx, pause.NextBackOff())
	}
}
