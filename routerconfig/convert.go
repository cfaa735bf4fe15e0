package routerconfig

import (
	"errors"
	"fmt"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// converter makes nodes of the parser's tree.
type converter struct {
	at      place // the file, and its first position
	env     func(string) (string, bool)
	report  *report
	anchors map[string]*node
	lines   []string
	aliased int // nodes that came through aliases so far
}

func (c *converter) document(file *ast.File) *node {
	var docs []*ast.DocumentNode
	for _, doc := range file.Docs {
		switch doc.Body.(type) {
		case nil, *ast.CommentGroupNode:
		case *ast.DirectiveNode:
			return c.broken(c.place(doc.Body.GetToken()), "", "remove the line", "YAML directives are not used here")
		default:
			docs = append(docs, doc)
		}
	}
	switch len(docs) {
	case 0:
		return &node{plain: true, at: c.at, size: 1}
	case 1:
		return c.convert(docs[0].Body, "")
	}
	return c.broken(c.place(docs[1].Start), "", "keep one document, without a line ---", "a second YAML document")
}

// convert makes the node at p.
func (c *converter) convert(n ast.Node, p pointer) *node {
	switch n := n.(type) {
	case nil, *ast.CommentGroupNode:
		return &node{plain: true, at: c.at, size: 1}
	case *ast.MappingNode:
		return c.mapping(n.Values, c.place(n.GetToken()), p)
	case *ast.MappingValueNode:
		return c.mapping([]*ast.MappingValueNode{n}, c.at, p)
	case *ast.SequenceNode:
		return c.list(n, p)
	case *ast.AnchorNode:
		value := c.convert(n.Value, p)
		c.anchors[text(n.Name)] = value
		return value
	case *ast.AliasNode:
		return c.alias(n, p)
	case *ast.TagNode:
		return c.tagged(n, p)
	case ast.ScalarNode:
		return c.scalar(n, p)
	}
	return c.broken(c.place(n.GetToken()), p, "", "this cannot be read as a value")
}

func (c *converter) list(n *ast.SequenceNode, p pointer) *node {
	out := &node{form: list, at: c.place(n.GetToken()), size: 1}
	for i, value := range n.Values {
		item := c.convert(value, p.index(i))
		if item.at == c.at && i < len(n.Entries) {
			item.at = c.place(n.Entries[i].GetToken())
		}
		out.items = append(out.items, item)
		out.size += item.size
	}
	return out
}

// mapping converts the pairs, written keys first: they win over merged ones
// (`<<: *base`), and among merged maps the first wins.
func (c *converter) mapping(pairs []*ast.MappingValueNode, at place, p pointer) *node {
	out := &node{form: mapping, at: at, size: 1}
	if len(pairs) > 0 {
		out.at = c.place(pairs[0].Key.GetToken())
	}
	for _, pair := range pairs {
		if !pair.Key.IsMergeKey() {
			c.pair(out, pair, p)
		}
	}
	for _, pair := range pairs {
		if pair.Key.IsMergeKey() {
			c.merge(out, c.convert(pair.Value, p), c.place(pair.Key.GetToken()), p)
		}
	}
	return out
}

func (c *converter) pair(out *node, pair *ast.MappingValueNode, p pointer) {
	at := c.place(pair.Key.GetToken())
	if _, ok := pair.Key.(ast.ScalarNode); !ok {
		c.report.errorAt(at, p, "write the key as plain text", "a key that is not text")
		return
	}
	key := text(pair.Key)
	if out.lookup(key) != nil {
		c.report.add(at, LevelError, p.key(key), "remove one of the two", "the key is here twice")
		return
	}
	value := c.convert(pair.Value, p.key(key))
	out.entries = append(out.entries, entry{key, at, value})
	out.size += value.size
}

func (c *converter) merge(out, from *node, at place, p pointer) {
	switch {
	case from.broken:
	case from.form == list:
		for _, one := range from.items {
			c.merge(out, one, at, p)
		}
	case from.form == mapping:
		for _, e := range from.entries {
			if out.lookup(e.key) == nil {
				out.entries = append(out.entries, e)
				out.size += e.value.size
			}
		}
	default:
		c.report.errorAt(at, p, "merge a map, or a list of maps", "<< is given %s", from.sort())
	}
}

func (c *converter) alias(n *ast.AliasNode, p pointer) *node {
	name, at := text(n.Value), c.place(n.GetToken())
	target, ok := c.anchors[name]
	if !ok {
		return c.broken(at, p, fmt.Sprintf("write &%s at a value above, outside of this one", name), "no anchor is called %q", name)
	}
	if c.aliased > maxNodes {
		return &node{plain: true, broken: true, at: at, size: 1}
	}
	if c.aliased += target.size; c.aliased > maxNodes {
		return c.broken(at, p, "write less of it with aliases", "the aliases make this more than %d values", maxNodes)
	}
	return target
}

func (c *converter) tagged(n *ast.TagNode, p pointer) *node {
	tag := n.Start.Value
	value := c.convert(n.Value, p)
	switch tag {
	case "!!str":
		quoted := *value
		quoted.plain = false
		return &quoted
	case "!!int", "!!float", "!!bool", "!!null", "!!map", "!!seq":
		return value
	}
	return c.broken(c.place(n.Start), p, "remove it", "the tag %s means nothing here", tag)
}

func (c *converter) scalar(n ast.ScalarNode, p pointer) *node {
	at := c.place(n.GetToken())
	out, used, err := expand(text(n), c.env)
	if err != nil {
		var fault *expandError
		errors.As(err, &fault)
		return c.broken(at, p, fault.fix, "%s", fault.what)
	}
	return &node{text: out, plain: isPlain(n), fromEnv: used, at: at, size: 1}
}

// broken tells of a fault and returns a node that nobody looks at again.
func (c *converter) broken(at place, p pointer, fix, format string, args ...any) *node {
	c.report.errorAt(at, p, fix, format, args...)
	return &node{plain: true, broken: true, at: at, size: 1}
}

func (c *converter) errorPlace(err error) place {
	var syntax yaml.Error
	if errors.As(err, &syntax) {
		return c.place(syntax.GetToken())
	}
	return c.at
}

// place is where the token starts, kept within the file whatever the parser
// says.
func (c *converter) place(t *token.Token) place {
	if t == nil || t.Position == nil || c.at.line == 0 {
		return c.at
	}
	line := min(max(t.Position.Line, 1), len(c.lines))
	column := min(max(t.Position.Column, 1), len([]rune(c.lines[line-1]))+1)
	return place{file: c.at.file, line: line, column: column}
}

// text is what a scalar says, escapes resolved and lines folded.
func text(n ast.Node) string {
	switch n := n.(type) {
	case *ast.StringNode:
		return n.Value
	case *ast.LiteralNode:
		return n.Value.Value
	case nil:
		return ""
	}
	return n.GetToken().Value
}

// isPlain says whether a scalar stands there without quotes, | or >.
func isPlain(n ast.ScalarNode) bool {
	switch n := n.(type) {
	case *ast.LiteralNode:
		return false
	case *ast.StringNode:
		return n.Token.Type != token.SingleQuoteType && n.Token.Type != token.DoubleQuoteType
	}
	return true
}
