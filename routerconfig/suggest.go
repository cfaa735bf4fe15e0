package routerconfig

import (
	"fmt"
	"slices"
	"strings"
)

// nearest returns the one of names that word was probably meant to be, or "".
func nearest(word string, names []string) string {
	best, distance := "", max(1, len(word)/3)+1
	for _, name := range names {
		if d := edits(word, name); d < distance && d < len(word) {
			best, distance = name, d
		}
	}
	return best
}

// choose is the fix for a word that is none of names: the nearest, or all.
func choose(word, what string, names []string) string {
	if best := nearest(word, names); best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	if len(names) == 0 {
		return "there are no " + what
	}
	names = slices.Sorted(slices.Values(names))
	return fmt.Sprintf("%s: %s", what, strings.Join(names, ", "))
}

// edits counts the characters to insert, remove, change or swap with their
// neighbour to make b of a (the optimal string alignment distance).
func edits(a, b string) int {
	before, last := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			change := last[j]
			if a[i] != b[j] {
				change++
			}
			row[j+1] = min(change, last[j+1]+1, row[j]+1)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
