package routerconfig

import (
	"regexp"
	"slices"

	jsonpointer "github.com/waybill-dev/waybill/pipeline/pointer"
)

// The rules that several blocks share. Each tells the report what it finds.

// nameText is what Kafka allows in a topic's name; every broker can have it.
var nameText = regexp.MustCompile(`^[A-Za-z0-9._-]{1,128}$`)

func (c *checker) checkName(p pointer, name string) {
	if !nameText.MatchString(name) || name == "." || name == ".." {
		c.namef(p, "use 1 to 128 letters, digits, '.', '_' and '-'", "%q cannot be a name", name)
	}
}

// checkReference wants name to be one of names.
func (c *checker) checkReference(p pointer, what, name string, names []string) {
	block := pointer("/" + what + "s")
	if slices.Contains(names, name) || c.blames(block) {
		return
	}
	c.errorf(p, choose(name, what+"s", names), "there is no %s %q", what, name)
}

// checkPointers wants JSON Pointers to something inside a document.
func (c *checker) checkPointers(p pointer, values []string) {
	for i, value := range values {
		if value != "" && jsonpointer.Check(value) == nil {
			continue
		}
		c.errorf(c.item(p, i), "write for example /orderId", "%q is not a JSON Pointer", value)
	}
}

// item is the pointer to an item of a list that can also be one value.
func (c *checker) item(p pointer, i int) pointer {
	if n, _ := c.root.walk(p); n != nil && n.form == list {
		return p.index(i)
	}
	return p
}

// require wants a value at p, and reports whether there is one.
func (c *checker) require(p pointer, value string) bool {
	switch {
	case value != "":
		return true
	case c.given(p):
		c.errorf(p, "give it a value", "it is empty")
	default:
		c.errorf(p, "add it", "it is missing")
	}
	return false
}

// givenOf returns the first of the keys of the map at p that is given, or "".
func (c *checker) givenOf(p pointer, keys []string) string {
	for _, key := range keys {
		if c.given(p.key(key)) {
			return key
		}
	}
	return ""
}
