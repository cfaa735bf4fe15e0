package main

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
)

// report is what the tests say of the rows.
type report struct {
	sections []section
	shown    map[string][]string // by row: tests that passed
	broken   map[string][]string // by row: tests that failed
	skipped  map[string][]string // by row: tests that did not run
	unknown  []string            // rows that tests name and the checklist lacks
	failures []string            // packages with a failed test
}

func newReport(sections []section, all *results) *report {
	r := &report{
		sections: sections,
		shown:    make(map[string][]string), broken: make(map[string][]string), skipped: make(map[string][]string),
	}
	known := make(map[string]bool)
	for _, s := range sections {
		for _, row := range s.rows {
			known[row.id] = true
		}
	}
	unknown, failures := make(map[string]bool), make(map[string]bool)
	for _, name := range all.builds {
		failures[name] = true
	}
	for _, t := range all.leaves() {
		end := all.tests[t]
		if end > passed {
			failures[t.Package] = true
		}
		for _, id := range ids(t) {
			into := map[outcome]map[string][]string{passed: r.shown, skipped: r.skipped, started: r.broken, failed: r.broken}[end]
			into[id] = append(into[id], t.String())
			if !known[id] {
				unknown[id] = true
			}
		}
	}
	r.unknown, r.failures = slices.Sorted(maps.Keys(unknown)), slices.Sorted(maps.Keys(failures))
	return r
}

// holds reports whether a test has shown the row, and none the contrary.
func (r *report) holds(id string) bool { return len(r.shown[id]) > 0 && len(r.broken[id]) == 0 }

// missing lists the rows that count now and have nothing to show.
func (r *report) missing() []row {
	var rows []row
	for _, s := range r.sections {
		for _, row := range s.rows {
			if row.counts() && !r.holds(row.id) {
				rows = append(rows, row)
			}
		}
	}
	return rows
}

func (r *report) ok() bool { return len(r.missing()) == 0 && len(r.failures) == 0 }

func (r *report) write(out io.Writer, verbose bool) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	have, want := 0, 0
	for _, s := range r.sections {
		h, n := r.tally(s)
		have, want = have+h, want+n
		fmt.Fprintf(w, "%s\t%d of %d rows%s\n", s.title, h, n, others(s))
		if verbose {
			r.list(w, s)
		}
	}
	fmt.Fprintf(w, "all\t%d of %d rows that count now have a test that passed\n", have, want)
	if len(r.missing()) > 0 {
		fmt.Fprintln(w)
	}
	for _, row := range r.missing() {
		fmt.Fprintf(w, "%s %s: %s\n", row.id, r.why(row.id), row.what)
		for _, name := range r.broken[row.id] {
			fmt.Fprintf(w, "  %s\n", name)
		}
	}
	if len(r.unknown) > 0 {
		fmt.Fprintf(w, "\ntests name rows that are not in the checklist: %s\n", strings.Join(r.unknown, ", "))
	}
	if len(r.failures) > 0 {
		fmt.Fprintf(w, "\nthe tests of these packages failed:\n  %s\n", strings.Join(r.failures, "\n  "))
	}
	return w.Flush()
}

// tally counts the rows of a section that hold, and those that should.
func (r *report) tally(s section) (have, want int) {
	for _, row := range s.rows {
		if !row.counts() {
			continue
		}
		want++
		if r.holds(row.id) {
			have++
		}
	}
	return have, want
}

// others says how many rows of a section do not count now.
func others(s section) string {
	n := make(map[string]int)
	for _, row := range s.rows {
		if !row.counts() {
			n[row.since]++
		}
	}
	text := ""
	for _, since := range slices.Sorted(maps.Keys(n)) {
		text += fmt.Sprintf(", %d %s", n[since], since)
	}
	return text
}

// list writes the tests of each row of a section.
func (r *report) list(w io.Writer, s section) {
	for _, row := range s.rows {
		fmt.Fprintf(w, "  %s (%s)\n", row.id, row.since)
		mark(w, "passed", r.shown[row.id])
		mark(w, "failed", r.broken[row.id])
		mark(w, "skipped", r.skipped[row.id])
	}
}

func mark(w io.Writer, how string, tests []string) {
	for _, name := range tests {
		fmt.Fprintf(w, "    %s %s\n", how, name)
	}
}

// why says in a word what a row lacks.
func (r *report) why(id string) string {
	switch {
	case len(r.broken[id]) > 0:
		return "has a test that failed"
	case len(r.skipped[id]) > 0:
		return "has only tests that were skipped"
	}
	return "has no test"
}
