package routerconfig

import (
	"strconv"
	"strings"
)

// pointer is a JSON Pointer (RFC 6901) into the config; "" is the whole file.
type pointer string

var (
	pointerEscape   = strings.NewReplacer("~", "~0", "/", "~1")
	pointerUnescape = strings.NewReplacer("~1", "/", "~0", "~")
)

// key is the pointer to that key of the map at p.
func (p pointer) key(name string) pointer { return p + "/" + pointer(pointerEscape.Replace(name)) }

// index is the pointer to the i-th item, from 0, of the list at p.
func (p pointer) index(i int) pointer { return p + "/" + pointer(strconv.Itoa(i)) }

// parent is the pointer to what holds p; the whole file holds itself.
func (p pointer) parent() pointer {
	return p[:max(0, strings.LastIndexByte(string(p), '/'))]
}

// tokens are the keys and indexes on the way to p.
func (p pointer) tokens() []string {
	if p == "" {
		return nil
	}
	tokens := strings.Split(strings.TrimPrefix(string(p), "/"), "/")
	for i, token := range tokens {
		tokens[i] = pointerUnescape.Replace(token)
	}
	return tokens
}

// path is p as people write it: keys with dots between.
func (p pointer) path() string { return strings.Join(p.tokens(), ".") }
