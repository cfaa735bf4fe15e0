package engine

import (
	"sync"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

// progress is how far a leftover is, for those who ask and those who pause.
type progress struct {
	mu     sync.Mutex
	reader *broker.Subscriber // nil: nobody reads right now
	pauses int
	left   int64  // messages that wait; -1: not known
	others int    // readers elsewhere that are waited for
	why    string // what keeps what is left from being read; "": nothing
	empty  bool   // nothing was left, once
}

// progressState is a progress at a moment.
type progressState struct {
	inFlight int // taken by the reader and not yet settled
	left     int64
	others   int
	why      string
	empty    bool
}

func (p *progress) state() progressState {
	p.mu.Lock()
	defer p.mu.Unlock()
	s := progressState{left: p.left, others: p.others, why: p.why, empty: p.empty}
	if p.reader != nil {
		s.inFlight = p.reader.InFlight()
	}
	return s
}

// begin makes reader the one that reads, paused as the route is. It reports
// whether what it reads has come late.
func (p *progress) begin(reader *broker.Subscriber, waiting int64) (late bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reader, p.left, p.others, p.why = reader, waiting, 0, ""
	for range p.pauses {
		reader.Pause()
	}
	return p.empty
}

func (p *progress) end() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.reader = nil
}

// note keeps what the broker says, or why it cannot be known. It reports
// whether err is news.
func (p *progress) note(left int64, err error) (isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	why := ""
	if err != nil {
		why = err.Error()
	}
	isNew = why != "" && why != p.why
	p.left, p.others, p.why = left, 0, why
	return isNew
}

// wait keeps that nothing waits and others read. It reports whether they did
// not when it was looked last.
func (p *progress) wait(others int) (isNew bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	isNew = p.others == 0
	p.left, p.others, p.why = 0, others, ""
	return isNew
}

func (p *progress) finish() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.left, p.others, p.why, p.empty = 0, 0, "", true
}

func (p *progress) pause() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pauses++
	if p.reader != nil {
		p.reader.Pause()
	}
}

func (p *progress) resume() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.pauses--
	if p.reader != nil {
		p.reader.Resume()
	}
}
