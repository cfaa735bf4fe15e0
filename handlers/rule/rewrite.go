package rule

import (
	"strconv"
	"strings"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/file"
)

// rewriter turns what expr would do with Go's own numbers and maps into calls
// of our functions: a + b becomes "+"(a, b), line.type becomes " get"(line,
// "type"). expr calls Visit for every node, children first. The functions'
// names cannot be written in an expression.
type rewriter struct {
	source []rune
	names  map[string]*use // identifiers seen
	loops  bool            // a predicate was seen
	test   test            // of the tree before it was rewritten
	err    *file.Error     // the first thing that is not allowed
}

// allowed lists expr's own builtins that stay as they are: they are pure,
// bounded by what they are given, and know nothing of numbers.
var allowed = map[string]bool{
	"all": true, "none": true, "any": true, "one": true, "filter": true, "map": true, "find": true,
	"findIndex": true, "findLast": true, "findLastIndex": true, "count": true, "reduce": true, "sum": true,
	"first": true, "last": true, "reverse": true, "concat": true,
	"trim": true, "trimPrefix": true, "trimSuffix": true, "upper": true, "lower": true, "split": true,
	"indexOf": true, "lastIndexOf": true, "hasPrefix": true, "hasSuffix": true,
}

// conditions lists the builtins whose predicate has to give true or false.
var conditions = map[string]bool{
	"all": true, "none": true, "any": true, "one": true, "filter": true, "find": true,
	"findIndex": true, "findLast": true, "findLastIndex": true, "count": true,
}

// Visit implements ast.Visitor.
func (r *rewriter) Visit(node *ast.Node) {
	switch n := (*node).(type) {
	case *ast.IdentifierNode:
		r.identifier(n)
	case *ast.IntegerNode:
		r.constant(node, strconv.Itoa(n.Value))
	case *ast.FloatNode:
		r.constant(node, r.float(n))
	case *ast.MemberNode:
		r.member(n)
		r.call(node, " get", n.Node, n.Property)
	case *ast.CallNode:
		if _, named := n.Callee.(*ast.IdentifierNode); !named {
			r.refuse(n, "only functions can be called, there are no methods")
		}
	case *ast.UnaryNode:
		r.unary(node, n)
	case *ast.BinaryNode:
		r.binary(node, n)
	case *ast.ConditionalNode:
		n.Cond = wrap(" truth", n.Cond)
	case *ast.PredicateNode:
		r.loops = true
		n.Node = wrap(" tick", &ast.IdentifierNode{Value: stepsName}, n.Node)
	case *ast.BuiltinNode:
		r.builtin(node, n)
	case *ast.SliceNode:
		r.slice(n)
	case *ast.BytesNode:
		r.refuse(n, "there are no byte literals")
	}
}

func (r *rewriter) identifier(n *ast.IdentifierNode) {
	if n.Value == "$env" {
		r.refuse(n, "unknown name $env")
	}
	u := r.names[n.Value]
	if u == nil {
		u = &use{}
		r.names[n.Value] = u
	}
	u.whole++
}

// use is what an expression looks at of a value that it is given.
type use struct {
	whole   int      // how often at more than a member of a fixed name
	members []string // the members of fixed names
}

// member notes that the identifier below it was used for no more than that.
func (r *rewriter) member(n *ast.MemberNode) {
	identifier, isName := n.Node.(*ast.IdentifierNode)
	property, isText := n.Property.(*ast.StringNode)
	if isName && isText {
		u := r.names[identifier.Value]
		u.whole--
		u.members = append(u.members, property.Value)
	}
}

func (r *rewriter) unary(node *ast.Node, n *ast.UnaryNode) {
	switch n.Operator {
	case "-":
		r.call(node, "-", &ast.ConstantNode{Value: Decimal{}}, n.Node)
	case "+":
		r.call(node, "+", &ast.ConstantNode{Value: Decimal{}}, n.Node)
	default: // not, !
		n.Node = wrap(" truth", n.Node)
	}
}

func (r *rewriter) binary(node *ast.Node, n *ast.BinaryNode) {
	switch n.Operator {
	case "and", "&&", "or", "||":
		n.Left, n.Right = wrap(" truth", n.Left), wrap(" truth", n.Right)
	case "in":
		r.call(node, "in", n.Left, constantList(n.Right))
	case "contains", "startsWith", "endsWith":
		n.Left, n.Right = wrap(" text", n.Left), wrap(" text", n.Right)
	case "matches":
		if _, literal := n.Right.(*ast.StringNode); !literal {
			r.refuse(n.Right, "the pattern of matches must be a literal")
		}
		n.Left = wrap(" text", n.Left)
	case "..":
		n.Left, n.Right = wrap(" index", n.Left), wrap(" index", n.Right)
	case "**", "^":
		r.refuse(n, "there is no operator "+n.Operator)
	case "??":
	default:
		r.call(node, n.Operator, n.Left, n.Right)
	}
}

func (r *rewriter) builtin(node *ast.Node, n *ast.BuiltinNode) {
	if !allowed[n.Name] {
		r.refuse(n, "unknown name "+n.Name)
		return
	}
	for i, arg := range n.Arguments {
		predicate, ok := arg.(*ast.PredicateNode)
		switch {
		case !ok:
			n.Arguments[i] = wrap(" plain", arg)
		case conditions[n.Name]:
			predicate.Node = wrap(" truth", predicate.Node)
		}
	}
	if n.Name == "sum" {
		r.sum(node, n)
	}
}

// sum adds exactly: sum(list, predicate) becomes " sum"(map(list, predicate)).
func (r *rewriter) sum(node *ast.Node, n *ast.BuiltinNode) {
	if len(n.Arguments) == 1 {
		r.call(node, " sum", n.Arguments[0])
		return
	}
	mapped := &ast.BuiltinNode{Name: "map", Arguments: n.Arguments}
	mapped.SetLocation(n.Location())
	r.call(node, " sum", mapped)
}

func (r *rewriter) slice(n *ast.SliceNode) {
	n.Node = wrap(" plain", n.Node)
	if n.From != nil {
		n.From = wrap(" index", n.From)
	}
	if n.To != nil {
		n.To = wrap(" index", n.To)
	}
}

// constant replaces a literal by the exact number.
func (r *rewriter) constant(node *ast.Node, text string) {
	num := Decimal{text: text}
	if parsed, err := num.parse(); err == nil {
		num.num = parsed
	} else {
		r.refuse(*node, err.Error())
	}
	ast.Patch(node, &ast.ConstantNode{Value: num})
}

// float returns the text of a literal as it is in the source; expr keeps a
// float64 of it, which would lose digits.
func (r *rewriter) float(n *ast.FloatNode) string {
	at := n.Location()
	if at.From >= 0 && at.From < at.To && at.To <= len(r.source) {
		text := strings.ReplaceAll(string(r.source[at.From:at.To]), "_", "")
		if strings.HasPrefix(text, ".") {
			text = "0" + text
		}
		text = strings.TrimSuffix(text, ".")
		if isNumber(text) {
			return text
		}
	}
	return strconv.FormatFloat(n.Value, 'g', -1, 64)
}

func (r *rewriter) call(node *ast.Node, name string, args ...ast.Node) {
	at := (*node).Location()
	*node = wrap(name, args...)
	(*node).SetLocation(at)
}

func (r *rewriter) refuse(n ast.Node, message string) {
	if r.err == nil {
		r.err = &file.Error{Location: n.Location(), Message: message}
	}
}

// wrap returns a call of one of our functions, placed at its last argument.
func wrap(name string, args ...ast.Node) ast.Node {
	at := args[len(args)-1].Location()
	callee := &ast.IdentifierNode{Value: name}
	callee.SetLocation(at)
	call := &ast.CallNode{Callee: callee, Arguments: args}
	call.SetLocation(at)
	return call
}

// constantList makes a list of literals once, not for each run.
func constantList(n ast.Node) ast.Node {
	array, ok := n.(*ast.ArrayNode)
	if !ok {
		return n
	}
	values := make([]any, len(array.Nodes))
	for i, element := range array.Nodes {
		switch e := element.(type) {
		case *ast.StringNode:
			values[i] = e.Value
		case *ast.ConstantNode:
			values[i] = e.Value
		case *ast.BoolNode:
			values[i] = e.Value
		case *ast.NilNode:
		default:
			return n
		}
	}
	constant := &ast.ConstantNode{Value: values}
	constant.SetLocation(n.Location())
	return constant
}
