package routerconfig

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Level says how bad a finding is.
type Level string

// The levels.
const (
	LevelError   Level = "error"   // Load refuses the config
	LevelWarning Level = "warning" // it loads, and is probably not what was meant
)

// Finding is one fault of a config, at the place where it can be mended.
type Finding struct {
	File    string // the file's name as given to Load, or "--set" for a value that was set there
	Line    int    // counted from 1; 0 for a value of --set
	Column  int    // counted from 1, in characters; 0 for a value of --set
	Level   Level
	Pointer string // JSON Pointer of the key, "" for the whole file
	What    string // what is wrong; it never holds a secret
	Fix     string // what to do about it, or ""
}

// String is one line: `file:line:column: what (fix)`, with "warning: " before
// what a warning says.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	b.WriteString(": ")
	if f.Level == LevelWarning {
		b.WriteString("warning: ")
	}
	b.WriteString(f.What)
	if f.Fix != "" {
		fmt.Fprintf(&b, " (%s)", f.Fix)
	}
	return b.String()
}

// Findings is all that is wrong with a config, by position: the errors and the
// warnings. It is the error of Load if one of them is an error.
type Findings []Finding

// Error has one finding a line.
func (f Findings) Error() string {
	lines := make([]string, len(f))
	for i, finding := range f {
		lines[i] = finding.String()
	}
	return strings.Join(lines, "\n")
}

// HasErrors reports whether one of the findings is an error.
func (f Findings) HasErrors() bool {
	return slices.ContainsFunc(f, func(one Finding) bool { return one.Level == LevelError })
}

// sorted returns the findings by position. What an alias brings to several
// keys is one finding.
func (f Findings) sorted() Findings {
	f = slices.Clone(f)
	slices.SortStableFunc(f, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(min(a.Line, 1), min(b.Line, 1)),
			cmp.Compare(a.File, b.File),
			cmp.Compare(a.Line, b.Line),
			cmp.Compare(a.Column, b.Column),
			cmp.Compare(a.What, b.What),
		)
	})
	seen := map[Finding]bool{}
	return slices.DeleteFunc(f, func(one Finding) bool {
		cause := one.cause()
		told := seen[cause]
		seen[cause] = true
		return told
	})
}

// cause is the finding without the way to its key.
func (f Finding) cause() Finding {
	p := pointer(f.Pointer)
	f.What = strings.TrimPrefix(f.What, p.path())
	f.Pointer = strings.TrimPrefix(f.Pointer, string(p.parent()))
	return f
}
