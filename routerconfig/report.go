package routerconfig

import (
	"fmt"
	"strings"
)

// report collects what is wrong. It finds the places, and keeps one fault from
// being told twice.
type report struct {
	root     *node // where places are looked up; nil until the file is parsed
	file     string
	findings Findings
	blamed   map[pointer]bool // keys whose fault is told
}

func newReport(file string) *report {
	return &report{file: file, blamed: map[pointer]bool{}}
}

// fork returns a report for the same file without findings. Nothing that is
// told there counts as told here.
func (r *report) fork() *report {
	inner := newReport(r.file)
	inner.root = r.root
	return inner
}

// errorf tells of an error at the key p, unless one at p or above it is told.
// The text starts with p's path.
func (r *report) errorf(p pointer, fix, format string, args ...any) {
	if r.blames(p) {
		return
	}
	r.errorAt(r.place(p), p, fix, format, args...)
}

// namef tells of an error in the name of p's key. It says nothing of what p
// holds, whose faults are told too.
func (r *report) namef(p pointer, fix, format string, args ...any) {
	r.add(r.place(p), LevelError, p, fix, format, args...)
}

// warnf tells of something at the key p that is probably not meant.
func (r *report) warnf(p pointer, fix, format string, args ...any) {
	r.add(r.place(p), LevelWarning, p, fix, format, args...)
}

// errorAt is errorf for something whose place is known.
func (r *report) errorAt(at place, p pointer, fix, format string, args ...any) {
	r.add(at, LevelError, p, fix, format, args...)
	r.blame(p)
}

func (r *report) add(at place, level Level, p pointer, fix, format string, args ...any) {
	what := fmt.Sprintf(format, args...)
	if path := p.path(); path != "" {
		what = path + ": " + what
	}
	r.findings = append(r.findings, Finding{
		File: at.file, Line: at.line, Column: at.column,
		Level: level, Pointer: string(p), What: oneLine(what), Fix: oneLine(fix),
	})
}

// adopt takes over findings that another report made.
func (r *report) adopt(findings Findings) {
	for _, f := range findings {
		r.blame(pointer(f.Pointer))
		r.findings = append(r.findings, f)
	}
}

// blame keeps further errors at p and below it from being told.
func (r *report) blame(p pointer) { r.blamed[p] = true }

// blames says whether the fault of p, or of something that holds it, is told.
func (r *report) blames(p pointer) bool {
	for ; p != ""; p = p.parent() {
		if r.blamed[p] {
			return true
		}
	}
	return r.blamed[""]
}

// blamesInside says whether the fault of p, of something that holds it or of
// something in it is told.
func (r *report) blamesInside(p pointer) bool {
	for told := range r.blamed {
		if strings.HasPrefix(string(told), string(p)+"/") {
			return true
		}
	}
	return r.blames(p)
}

// given reports whether something is written at p, if only "".
func (r *report) given(p pointer) bool {
	n, _ := r.root.walk(p)
	return n != nil && !n.isNull()
}

func (r *report) place(p pointer) place {
	if r.root == nil {
		return place{file: r.file, line: 1, column: 1}
	}
	_, at := r.root.walk(p)
	return at
}

// oneLine keeps a finding on its line whatever text of the file is in it.
func oneLine(text string) string {
	return strings.NewReplacer("\n", `\n`, "\r", `\r`).Replace(text)
}
