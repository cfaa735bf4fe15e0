package routerconfig

import (
	"math"
	"strconv"
	"strings"
)

// node is one value of the file with its place. Nodes are shared where the
// file has aliases, so nothing changes one after parse.
type node struct {
	form    form
	at      place
	text    string  // of a scalar, variables expanded
	plain   bool    // a scalar without quotes or tag, so that 8 is a number
	fromEnv bool    // a scalar in which a variable was expanded
	broken  bool    // a finding says already what is wrong with it
	items   []*node // of a list
	entries []entry // of a map, in the file's order, each key once
	size    int     // how many nodes it has, those behind aliases included
}

// entry is a key of a map with its value.
type entry struct {
	key   string
	at    place
	value *node
}

// form says which sort of value a node is.
type form int

const (
	scalar form = iota
	list
	mapping
)

// place is where something stands. Line and column count from 1; they are 0
// for what --set gave.
type place struct {
	file         string
	line, column int
}

// lookup returns the value of that key of a map, or nil.
func (n *node) lookup(key string) *node {
	for _, e := range n.entries {
		if e.key == key {
			return e.value
		}
	}
	return nil
}

// isNull says whether nothing is written: `key:` alone, ~ or null. A variable
// that is set to nothing is empty text.
func (n *node) isNull() bool {
	return n.form == scalar && n.plain && !n.fromEnv && n.resolve() == nil
}

// sort says what sort of value n is, and not the value: it could be a secret
// in the wrong place.
func (n *node) sort() string {
	switch {
	case n.form == list:
		return "a list"
	case n.form == mapping:
		return "a map"
	}
	switch n.resolve().(type) {
	case nil:
		return "nothing"
	case string:
		return "text"
	case bool:
		return "true or false"
	}
	return "a number"
}

// String is the value of a scalar as a finding shows it, else its sort.
func (n *node) String() string {
	if n.form != scalar || n.isNull() {
		return n.sort()
	}
	switch n.resolve().(type) {
	case nil, string:
		return strconv.Quote(n.text)
	}
	return n.text
}

// resolve gives a scalar the value that YAML 1.2 says its text has: nil, bool,
// int64, uint64, float64 or string.
func (n *node) resolve() any {
	if !n.plain {
		return n.text
	}
	switch n.text {
	case "", "~", "null", "Null", "NULL":
		return nil
	case "true", "True", "TRUE":
		return true
	case "false", "False", "FALSE":
		return false
	case ".inf", ".Inf", ".INF", "+.inf":
		return math.Inf(1)
	case "-.inf", "-.Inf", "-.INF":
		return math.Inf(-1)
	case ".nan", ".NaN", ".NAN":
		return math.NaN()
	}
	return resolveNumber(n.text)
}

// resolveNumber returns the number that text is, or text itself.
func resolveNumber(text string) any {
	base, digits := 10, text
	switch {
	case strings.HasPrefix(text, "0x"):
		base, digits = 16, text[2:]
	case strings.HasPrefix(text, "0o"):
		base, digits = 8, text[2:]
	}
	if i, err := strconv.ParseInt(digits, base, 64); err == nil {
		return i
	}
	if u, err := strconv.ParseUint(digits, base, 64); err == nil {
		return u
	}
	if strings.Trim(text, "+-0123456789.eE") == "" {
		if f, err := strconv.ParseFloat(text, 64); err == nil {
			return f
		}
	}
	return text
}

// walk follows p as far as there are nodes. It returns the node at p, or nil,
// and the best place for a finding about p: that of the value for a scalar,
// else that of the key, or of the nearest one above that is there.
func (n *node) walk(p pointer) (*node, place) {
	at := n.at
	for _, token := range p.tokens() {
		next, where := n.child(token)
		if next == nil {
			return nil, at
		}
		n, at = next, where
	}
	if n.form == scalar && !n.isNull() {
		at = n.at
	}
	return n, at
}

// child returns the value of that key or index of n, and the place of the key
// or item.
func (n *node) child(token string) (*node, place) {
	for _, e := range n.entries {
		if e.key == token {
			return e.value, e.at
		}
	}
	if i, err := strconv.Atoi(token); err == nil && n.form == list && 0 <= i && i < len(n.items) {
		return n.items[i], n.items[i].at
	}
	return nil, place{}
}
