package journal

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// patience is that of every gate, longer than a run usually lasts. One that is
// alone has as much, or what its handler's timeout allows it.
const patience = time.Minute

// closed is what is taken off a gate's count while it is shut.
const closed = 1 << 40

// gate lets runs pass side by side, or one alone. To pass costs an atomic
// addition. Those that want to run alone do so one after the other, and then
// the others pass again.
type gate struct {
	runs atomic.Int64  // under way; less closed while the gate is shut
	turn chan struct{} // holds a token while somebody has the turn to run alone
	left chan struct{} // holds a token when a run has left a gate that is shut

	patience time.Duration // of who wants to run alone with those that run
	stuck    int64         // runs that have outlasted it; of who has the turn

	mu    sync.Mutex
	shuts int           // how many run alone or want to; the gate is shut while there are any
	open  chan struct{} // closed while the gate is open
}

func newGate() *gate {
	g := &gate{turn: make(chan struct{}, 1), left: make(chan struct{}, 1), open: make(chan struct{}), patience: patience}
	close(g.open)
	return g
}

// enter passes beside others. False: ctx ends or its subscription drains
// instead.
func (g *gate) enter(ctx context.Context) bool {
	for g.runs.Add(1) <= 0 {
		g.leave()
		select {
		case <-g.opened():
		case <-pipeline.Draining(ctx):
			return false
		case <-ctx.Done():
			return false
		}
	}
	return true
}

// leave ends what enter began.
func (g *gate) leave() {
	if g.runs.Add(-1) >= 0 {
		return
	}
	select {
	case g.left <- struct{}{}:
	default:
	}
}

// alone passes when nothing else runs, and keeps others out until goOn. Runs
// that do not end within the gate's patience are not waited for: a kind that
// hangs must not stop the process. False as enter.
func (g *gate) alone(ctx context.Context) bool {
	g.shut()
	select {
	case g.turn <- struct{}{}:
	case <-pipeline.Draining(ctx):
		g.unshut()
		return false
	case <-ctx.Done():
		g.unshut()
		return false
	}
	var late <-chan time.Time
	for !g.idle() {
		if late == nil {
			timer := time.NewTimer(g.patience)
			defer timer.Stop()
			late = timer.C
		}
		select {
		case <-g.left:
		case <-late:
			g.stuck = g.runs.Load() + closed
		case <-pipeline.Draining(ctx):
			g.goOn()
			return false
		case <-ctx.Done():
			g.goOn()
			return false
		}
	}
	return true
}

// idle reports whether nothing runs but what is stuck.
func (g *gate) idle() bool {
	running := g.runs.Load() + closed
	g.stuck = min(g.stuck, running) // while the gate is shut none is added
	return running <= g.stuck
}

// goOn ends what alone began.
func (g *gate) goOn() {
	<-g.turn
	g.unshut()
}

// goOnWithin returns goOn for one that is alone, to be called once. If it is not
// called within d the others do not wait for it: late is told, and what is still
// alone becomes one of those that run, and that have outlasted the patience.
func (g *gate) goOnWithin(d time.Duration, late func()) (end func()) {
	passed := make(chan struct{})
	timer := time.AfterFunc(d, func() {
		defer close(passed)
		late()
		g.stuck++
		g.runs.Add(1)
		g.goOn()
	})
	return func() {
		if timer.Stop() {
			g.goOn()
			return
		}
		<-passed
		g.leave()
	}
}

// shut keeps new runs out until as many calls of unshut.
func (g *gate) shut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shuts++; g.shuts == 1 {
		g.open = make(chan struct{})
		g.runs.Add(-closed)
	}
}

func (g *gate) unshut() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.shuts--; g.shuts == 0 {
		g.stuck = 0
		g.runs.Add(closed)
		close(g.open)
	}
}

func (g *gate) opened() <-chan struct{} {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.open
}

// busy reports whether anything runs.
func (g *gate) busy() bool {
	if len(g.turn) > 0 { // first: who gives it back while it runs is counted before
		return true
	}
	n := g.runs.Load()
	return n != 0 && n != -closed
}
