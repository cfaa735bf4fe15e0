package peer

import (
	"context"
	"sync"
)

// progress knows up to where a partition is done, though answers come out of
// order, and bounds how much of it is under way.
type progress struct {
	room chan struct{}
	mark func(next int64)

	mu    sync.Mutex
	next  int64 // the first offset that is not done
	begun bool
	open  map[int64]bool // at and above next: whether it is done
	last  int64          // the last offset that was begun
}

func newProgress(room int, mark func(next int64)) *progress {
	return &progress{room: make(chan struct{}, room), mark: mark, open: make(map[int64]bool, room)}
}

// begin notes that the offset is under way; false: ctx has ended first.
func (p *progress) begin(ctx context.Context, offset int64) bool {
	select {
	case p.room <- struct{}{}:
	case <-ctx.Done():
		return false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.begun {
		p.next, p.begun = offset, true
	}
	p.open[offset], p.last = false, offset
	return true
}

// done marks as far as everything is done. Offsets without a message, which
// compaction leaves, are passed over.
func (p *progress) done(offset int64) {
	p.mu.Lock()
	p.open[offset] = true
	moved := false
	for p.next <= p.last {
		isDone, there := p.open[p.next]
		if there && !isDone {
			break
		}
		delete(p.open, p.next)
		p.next++
		moved = true
	}
	if moved {
		p.mark(p.next)
	}
	p.mu.Unlock()
	<-p.room
}

// wait returns when nothing is under way.
func (p *progress) wait() {
	for range cap(p.room) {
		p.room <- struct{}{}
	}
}
