package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
)

// results are what became of tests.
type results struct {
	tests  map[test]outcome
	builds []string // packages that failed by themselves: they do not build, or a test ended the process
}

// test is a test or a subtest: Name has a part for each level, with slashes
// between.
type test struct{ Package, Name string }

func (t test) String() string { return t.Package + " " + t.Name }

// outcome is how a test ended; where it ran several times, the worst counts.
type outcome int

const (
	skipped outcome = iota + 1
	passed
	started // and not ended
	failed
)

// event is a line of go test -json, as far as it is of interest.
type event struct {
	Action  string
	Package string
	Test    string
}

func newResults() *results { return &results{tests: make(map[test]outcome)} }

func (r *results) empty() bool { return len(r.tests) == 0 && len(r.builds) == 0 }

func (r *results) readFile(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return r.read(f)
}

// read adds what a go test -json has written. Lines that are no event are what
// other programs have said in between.
func (r *results) read(in io.Reader) error {
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		var e event
		if json.Unmarshal(line, &e) == nil {
			r.add(e)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

func (r *results) add(e event) {
	if e.Test == "" {
		if e.Action == "fail" {
			r.builds = append(r.builds, e.Package)
		}
		return
	}
	t := test{e.Package, e.Test}
	switch e.Action {
	case "run":
		if _, again := r.tests[t]; !again {
			r.tests[t] = started
		}
	case "pass":
		r.end(t, passed)
	case "skip":
		r.end(t, skipped)
	case "fail":
		r.end(t, failed)
	}
}

// end notes how a run of the test has ended. A test that runs again, after
// another run of the process or by -count, keeps its worst end; of pass and
// skip a pass shows more.
func (r *results) end(t test, o outcome) {
	if r.tests[t] == started || r.tests[t] < o {
		r.tests[t] = o
	}
}

// leaves returns the tests without subtests: what really ran. A test that
// failed or never ended is among them in any case.
func (r *results) leaves() []test {
	parents := make(map[test]bool)
	for t := range r.tests {
		if i := strings.LastIndexByte(t.Name, '/'); i >= 0 {
			parents[test{t.Package, t.Name[:i]}] = true
		}
	}
	var leaves []test
	for t, o := range r.tests {
		if !parents[t] || o > passed {
			leaves = append(leaves, t)
		}
	}
	slices.SortFunc(leaves, func(a, b test) int { return strings.Compare(a.String(), b.String()) })
	return leaves
}

// named finds the ID at the beginning of a subtest's name; go test has put
// underscores in the place of spaces.
var named = regexp.MustCompile(`^((?:[0-9]-[A-Z]?|X)[0-9]+)(?:[^0-9A-Za-z]|$)`)

// ids returns the rows that a test is about: its own name's, and those of the
// tests that it stands in.
func ids(t test) []string {
	var found []string
	for _, part := range strings.Split(t.Name, "/")[1:] {
		if m := named.FindStringSubmatch(part); m != nil && !slices.Contains(found, m[1]) {
			found = append(found, m[1])
		}
	}
	return found
}
