package prepare

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// template is what all jobs of a line have in common, as pieces of text, and
// between them the places where they differ.
type template struct {
	text   []byte // of all pieces
	pieces []piece
	edits  []edit
	shares [][]string // of each amount that is divided: one for each job
}

// piece is text that is copied, and what follows it.
type piece struct {
	end    int // of its text; it starts where the one before it ends
	hole   hole
	amount int // for amountHole: index of its shares
}

// hole is what differs from job to job.
type hole int

const (
	noHole hole = iota
	jobHole
	unitsHole
	amountHole
	componentHole
	stagesHole
)

// edit is a range of the line that its jobs do not copy, and what they have
// in its place: the value of one of our members, or a hole.
type edit struct {
	pointer.Span
	member int
	hole   hole
	amount int
}

func (t *template) reset() {
	t.text, t.pieces, t.edits = t.text[:0], t.pieces[:0], t.edits[:0]
	clear(t.shares)
	t.shares = t.shares[:0]
}

func (t *template) add(text []byte)       { t.text = append(t.text, text...) }
func (t *template) addString(text string) { t.text = append(t.text, text...) }
func (t *template) addInt(n int)          { t.text = strconv.AppendInt(t.text, int64(n), 10) }

// leave ends a piece with a hole.
func (t *template) leave(h hole) {
	t.pieces = append(t.pieces, piece{end: len(t.text), hole: h})
}

// makeTemplate makes the template of a line that becomes jobs.
func (w *workspace) makeTemplate(l *plan) error {
	t := &w.template
	t.reset()
	if err := w.planEdits(l); err != nil {
		return err
	}
	done := l.span.Start
	for _, e := range t.edits {
		t.add(w.order[done:e.Start])
		if e.hole == noHole {
			w.addMember(l, e.member)
		} else {
			t.pieces = append(t.pieces, piece{end: len(t.text), hole: e.hole, amount: e.amount})
		}
		done = e.End
	}
	t.add(w.order[done:l.last])
	w.addMembers(l)
	t.add(w.order[l.last:l.span.End])
	t.leave(noHole)
	return nil
}

// planEdits lists the edits of a line, in order.
func (w *workspace) planEdits(l *plan) error {
	t := &w.template
	if l.jobs > 1 {
		if l.count.sort == wholeCount {
			t.edits = append(t.edits, edit{Span: l.quantity.value, hole: unitsHole})
		}
		if err := w.planAmounts(l); err != nil {
			return err
		}
	}
	for member := range memberKinds {
		if l.came == 0 {
			break
		}
		if l.has(member) && l.gets(member) && (member == memberStages || w.p.config.Collision == Overwrite) {
			t.edits = append(t.edits, edit{Span: l.present[member], member: member})
		}
	}
	if len(t.edits) > 1 {
		slices.SortFunc(t.edits, func(a, b edit) int { return cmp.Compare(a.Start, b.Start) })
	}
	return nil
}

// gets reports whether the line's jobs get the member from us.
func (l *plan) gets(member int) bool {
	switch member {
	case memberStages:
		return l.stages != stagesKept
	case memberSource:
		return l.split && l.quantity.rank > 0
	case memberComponent:
		return l.bundle()
	}
	return l.split
}

// addMembers adds our members that the line does not have.
func (w *workspace) addMembers(l *plan) {
	t := &w.template
	empty := l.last == l.span.Start+1
	for member := range memberKinds {
		if l.has(member) || !l.gets(member) {
			continue
		}
		if !empty {
			t.addString(",")
		}
		empty = false
		t.addString(memberKeys[member])
		w.addMember(l, member)
	}
}

// addMember adds the value of one of our members.
func (w *workspace) addMember(l *plan, member int) {
	t := &w.template
	switch member {
	case memberID:
		t.addString(`"`)
		t.add(w.idText())
		t.addString("-")
		t.addInt(l.number)
		t.addString("-")
		t.leave(jobHole)
		t.addString(`"`)
	case memberLine:
		t.addInt(l.number)
	case memberJob:
		t.leave(jobHole)
	case memberCount:
		t.addInt(l.jobs)
	case memberSource:
		t.add(l.quantity.value.Of(w.order))
	case memberComponent:
		t.leave(componentHole)
	case memberStages:
		t.leave(stagesHole)
	}
}

// job is what fills the holes of a template.
type job struct {
	number    int // in the line, from 1
	component []byte
	stages    []byte
}

// write appends a job.
func (t *template) write(out []byte, l *plan, j job) []byte {
	done := 0
	for i := range t.pieces {
		p := &t.pieces[i]
		out = append(out, t.text[done:p.end]...)
		done = p.end
		switch p.hole {
		case jobHole:
			out = strconv.AppendInt(out, int64(j.number), 10)
		case unitsHole:
			out = strconv.AppendInt(out, l.unitsOf(j.number), 10)
		case amountHole:
			out = append(out, t.shares[p.amount][j.number-1]...)
		case componentHole:
			out = append(out, j.component...)
		case stagesHole:
			out = append(out, j.stages...)
		}
	}
	return out
}
