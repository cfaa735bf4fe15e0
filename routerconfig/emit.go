package routerconfig

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
)

// pairs is a map whose keys have an order.
type pairs []pair

type pair struct {
	key   string
	value any
}

// emitter writes YAML that every reader reads alike: what could be taken for
// something else is quoted. (The library's writer leaves tabs in keys as they
// are, which its reader refuses.)
type emitter struct{ bytes.Buffer }

// block writes a map or list, a line for each entry, indented by so many
// spaces, and ends the line of anything else.
func (b *emitter) block(v any, indent int) {
	margin := strings.Repeat(" ", indent)
	switch v := v.(type) {
	case pairs:
		for _, p := range v {
			b.WriteString(margin + quote(p.key) + ":")
			b.entry(p.value, indent+2)
		}
	case []any:
		for _, item := range v {
			b.WriteString(margin + "-")
			b.item(item, indent+2)
		}
	default:
		b.WriteString(inline(v) + "\n")
	}
}

// entry writes what follows a key.
func (b *emitter) entry(v any, indent int) {
	switch {
	case isBlock(v):
		b.WriteString("\n")
		b.block(v, indent)
	case isProse(v):
		b.prose(v.(string), indent)
	default:
		b.WriteString(" " + inline(v) + "\n")
	}
}

// item writes what follows a list's dash: a block starts on the same line.
func (b *emitter) item(v any, indent int) {
	if !isBlock(v) {
		b.entry(v, indent)
		return
	}
	var inner emitter
	inner.block(v, indent)
	b.WriteString(" " + strings.TrimLeft(inner.String(), " "))
}

// prose writes text of several lines as such.
func (b *emitter) prose(text string, indent int) {
	margin := strings.Repeat(" ", indent)
	mark := " |-\n"
	if strings.HasSuffix(text, "\n") {
		mark = " |\n"
	}
	b.WriteString(mark)
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if line != "" {
			line = margin + line
		}
		b.WriteString(line + "\n")
	}
}

// isBlock says whether v takes lines of its own.
func isBlock(v any) bool {
	switch v := v.(type) {
	case pairs:
		return len(v) > 0
	case []any:
		return len(v) > 0
	}
	return false
}

// proseText is text of lines that begin with a visible character, or hold
// nothing, the first and the last not empty.
var proseText = regexp.MustCompile(`^[!-~][ -~]*(\n([ -~]*[!-~])?)*\n[ -~]*[!-~]\n?$`)

func isProse(v any) bool {
	text, ok := v.(string)
	return ok && proseText.MatchString(text)
}

// inline is a value on one line.
func inline(v any) string {
	switch v := v.(type) {
	case nil:
		return "null"
	case pairs:
		return "{}"
	case []any:
		return "[]"
	case string:
		return quote(v)
	case float64:
		return float(v, 64)
	case float32:
		return float(float64(v), 32)
	}
	return fmt.Sprint(v)
}

func float(f float64, bits int) string {
	switch {
	case math.IsNaN(f):
		return ".nan"
	case math.IsInf(f, 1):
		return ".inf"
	case math.IsInf(f, -1):
		return "-.inf"
	}
	text := strconv.FormatFloat(f, 'g', -1, bits)
	if !strings.ContainsAny(text, ".e") {
		text += ".0"
	}
	return text
}

// plainText is text that is no YAML syntax and, if it is no word or number of
// YAML's, needs no quotes.
var plainText = regexp.MustCompile(`^[A-Za-z0-9/._][A-Za-z0-9/._+$@-]*([: ]?[A-Za-z0-9/._+$@-]+)*$`)

// quotedText reads better in single quotes, which change nothing in them.
var quotedText = regexp.MustCompile(`^[ -&(-~]*["\\][ -&(-~]*$`)

// quote returns text in quotes, where it needs them.
func quote(text string) string {
	bare := node{text: text, plain: true}
	if _, isText := bare.resolve().(string); isText && plainText.MatchString(text) && !wordOfOld.MatchString(text) {
		return text
	}
	if quotedText.MatchString(text) {
		return "'" + text + "'"
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(text); err != nil {
		// Any text can be written as JSON.
		panic(err)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

// wordOfOld is text that other readers, above all of YAML 1.1, take for true,
// false, a date or a number.
var wordOfOld = regexp.MustCompile(`^((?i:y|yes|n|no|on|off)|[0-9]{4}-.*|[0-9][0-9_:]*|0[bB][01_]+)$`)
