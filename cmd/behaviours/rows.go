package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// section is a heading of the checklist and the rows below it.
type section struct {
	title string
	rows  []row
}

// row is one promise.
type row struct {
	id    string
	since string // the version that it comes with, or "later", or "not ours"
	what  string
}

// counts reports whether the row needs a test now.
func (r row) counts() bool { return r.since != "" && r.since[0] >= '0' && r.since[0] <= '9' }

// idText is what a row's ID looks like: a digit for the section or an X, then letters
// and digits.
var idText = regexp.MustCompile(`^([0-9]-[A-Z]?|X)[0-9]+$`)

// parseRows reads the Markdown of the checklist: sections are headings of
// level 2, rows are lines of tables whose header has the columns ID, Since and
// "What the user gets". Other tables are passed over.
func parseRows(text string) ([]section, error) {
	var sections []section
	var columns []string // of the table that is being read; nil: of none, or of another
	seen := make(map[string]bool)
	for i, line := range strings.Split(text, "\n") {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			sections, columns = append(sections, section{title: strings.TrimSpace(title)}), nil
			continue
		}
		if !strings.HasPrefix(line, "|") {
			columns = nil
			continue
		}
		cells := split(line)
		if columns == nil {
			columns = cells
		}
		id := cell(columns, cells, "ID")
		if !idText.MatchString(id) {
			continue
		}
		r := row{id: id, since: cell(columns, cells, "Since"), what: cell(columns, cells, "What the user gets")}
		switch {
		case len(sections) == 0:
			return nil, fmt.Errorf("line %d: row %s stands above the first heading of a section (## …)", i+1, id)
		case seen[id]:
			return nil, fmt.Errorf("line %d: row %s is there twice", i+1, id)
		case !r.counts() && r.since != "later" && r.since != "not ours":
			return nil, fmt.Errorf("line %d: row %s: column Since has %q: want a version, later, or not ours", i+1, id, r.since)
		}
		seen[id] = true
		last := &sections[len(sections)-1]
		last.rows = append(last.rows, r)
	}
	if len(seen) == 0 {
		return nil, errors.New("no table has rows with an ID such as 0-01")
	}
	return slices.DeleteFunc(sections, func(s section) bool { return len(s.rows) == 0 }), nil
}

// split returns the cells of a table's line.
func split(line string) []string {
	cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
	for i := range cells {
		cells[i] = strings.TrimSpace(cells[i])
	}
	return cells
}

func cell(columns, cells []string, name string) string {
	if i := slices.Index(columns, name); i >= 0 && i < len(cells) {
		return cells[i]
	}
	return ""
}
