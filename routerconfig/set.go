package routerconfig

import (
	"slices"
	"strconv"
	"strings"
)

// setFile stands for the file in findings about values of --set.
const setFile = "--set"

// applySet returns root with one --set in it, given as path=value. Maps on the
// way that are not there are made; a list takes the index of an item, or the
// one after the last. The value is YAML as in the file, variables and all;
// without one the key goes back to its default.
func applySet(root *node, arg string, env func(string) (string, bool), r *report) *node {
	path, value, ok := strings.Cut(arg, "=")
	at := place{file: setFile}
	if !ok || path == "" {
		r.add(at, LevelError, "", "write --set path=value", "%q sets nothing", path)
		return root
	}
	p := setPointer(root, path)
	inner := newReport(at.file)
	n := parse([]byte(value), at, env, inner)
	for _, f := range inner.findings {
		r.errorAt(at, p, f.Fix, "%s", f.What)
	}
	out, fault := root.with(p.tokens(), n, at)
	if fault != "" {
		r.errorAt(at, p, "", "%s", fault)
		return root
	}
	return out
}

// setPointer reads a path: a JSON Pointer, or keys with dots between. Of keys
// that have dots themselves, the longest that is there is taken.
func setPointer(root *node, path string) pointer {
	if strings.HasPrefix(path, "/") {
		return pointer(path)
	}
	p, n := pointer(""), root
	for rest := path; rest != ""; {
		key := firstKey(n, rest)
		rest = strings.TrimPrefix(rest[len(key):], ".")
		p = p.key(key)
		if n != nil {
			n, _ = n.child(key)
		}
	}
	return p
}

// firstKey returns the first of the keys in a path with dots that starts at n.
func firstKey(n *node, path string) string {
	first, _, _ := strings.Cut(path, ".")
	if n == nil {
		return first
	}
	for _, e := range n.entries {
		if len(e.key) > len(first) && strings.HasPrefix(path+".", e.key+".") {
			first = e.key
		}
	}
	return first
}

// with returns a copy of n with the value at the end of the tokens, or what
// keeps it from being put there. Only what is on the way is copied.
func (n *node) with(tokens []string, value *node, at place) (out *node, fault string) {
	if len(tokens) == 0 {
		return value, ""
	}
	if n == nil || n.isNull() {
		n = &node{form: mapping, at: at, size: 1}
	}
	next, _ := n.child(tokens[0])
	inner, fault := next.with(tokens[1:], value, at)
	if fault != "" {
		return nil, fault
	}
	copied := *n
	switch n.form {
	case mapping:
		copied.entries = replaced(n.entries, entry{tokens[0], at, inner})
	case list:
		i, err := strconv.Atoi(tokens[0])
		if err != nil || i < 0 || i > len(n.items) {
			return nil, strconv.Quote(tokens[0]) + " is not an index of this list"
		}
		copied.items = append(slices.Clone(n.items[:i]), inner)
		copied.items = append(copied.items, n.items[min(i+1, len(n.items)):]...)
	default:
		return nil, strconv.Quote(tokens[0]) + " is below a value that is neither map nor list"
	}
	return &copied, ""
}

// replaced returns the entries with e in place of the one with its key, whose
// place in the file it keeps for findings about other keys, or at the end.
func replaced(entries []entry, e entry) []entry {
	entries = slices.Clone(entries)
	i := slices.IndexFunc(entries, func(old entry) bool { return old.key == e.key })
	if i < 0 {
		return append(entries, e)
	}
	entries[i] = entry{e.key, entries[i].at, e.value}
	return entries
}
