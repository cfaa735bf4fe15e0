package order

import (
	"strings"
	"unicode"
)

// maxLine bounds a line of the log, in characters.
const maxLine = 500

// Printable makes one line of text that came from outside, for the log: a line
// break in a product's name must not forge a line. Control characters become
// spaces, and what is longer than 500 characters is cut.
func Printable(line string) string {
	line = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, line)
	if runes := []rune(line); len(runes) > maxLine {
		return string(runes[:maxLine]) + "…"
	}
	return line
}
