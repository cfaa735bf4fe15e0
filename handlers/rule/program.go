package rule

import (
	"errors"
	"fmt"
	"maps"
	"reflect"
	"strings"
	"sync"

	"github.com/expr-lang/expr/ast"
	"github.com/expr-lang/expr/checker"
	"github.com/expr-lang/expr/compiler"
	"github.com/expr-lang/expr/conf"
	"github.com/expr-lang/expr/file"
	"github.com/expr-lang/expr/parser"
	"github.com/expr-lang/expr/types"
	"github.com/expr-lang/expr/vm"
)

const (
	maxSource = 16 << 10 // bytes of an expression
	maxSteps  = 1_000_000
)

// Error is a fault in an expression, found when it was compiled or run.
type Error struct {
	Source  string // the expression
	Line    int    // of the place in Source, from 1; 0 if it is the whole
	Column  int    // from 1
	Message string
	Err     error // what an operator or function said, or nil
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.Message
	}
	return fmt.Sprintf("%d:%d: %s", e.Line, e.Column, e.Message)
}

func (e *Error) Unwrap() error { return e.Err }

// Program is a compiled expression. Many goroutines may run it at once, each
// with values of its own.
type Program struct {
	source string
	code   *vm.Program
	names  map[string]*use // the names that it uses
	loops  bool            // it counts steps
	test   test            // a short way to Bool, or nil
}

// Compile checks and compiles an expression that may use the given names,
// which its environment will hold. An unknown name, a wrong number of
// arguments or a type that cannot fit is an *Error with its place.
func Compile(source string, names ...string) (*Program, error) {
	if len(source) > maxSource {
		return nil, &Error{Source: source, Message: fmt.Sprintf("the expression is longer than %d bytes", maxSource)}
	}
	r := &rewriter{source: []rune(source), names: map[string]*use{}}
	code, err := compile(source, r, names)
	if err != nil {
		return nil, newError(source, err).suggest(names)
	}
	return &Program{source: source, code: code, names: r.names, loops: r.loops, test: r.test}, nil
}

// compile takes expr's steps one by one. expr.Compile would check the types
// twice after a rewrite, and the second check trusts the first's results: it
// would not find unknown names in the arguments of operators.
func compile(source string, r *rewriter, names []string) (*vm.Program, error) {
	config := newConfig(names)
	tree, err := parser.ParseWithConfig(source, config)
	if err != nil {
		return nil, err
	}
	r.test = direct(tree.Node)
	ast.Walk(&tree.Node, r)
	if r.err != nil {
		return nil, r.err.Bind(tree.Source)
	}
	if _, err := checker.Check(tree, config); err != nil {
		return nil, err
	}
	return compiler.Compile(tree, config)
}

// newConfig declares the names, our functions, and the builtins that stay.
func newConfig(names []string) *conf.Config {
	env := types.Map{stepsName: types.Any}
	for _, name := range names {
		env[name] = types.Any
	}
	config := conf.CreateNew()
	for _, option := range functions {
		option(config)
	}
	config.WithEnv(env)
	for name := range config.Builtins {
		if !allowed[name] {
			config.Disabled[name] = true
			delete(config.Builtins, name)
		}
	}
	return config
}

// CompileBool is Compile for a condition: what is known not to give true or
// false is an error. What is only known when it runs is left to Bool.
func CompileBool(source string, names ...string) (*Program, error) {
	p, err := Compile(source, names...)
	if err != nil {
		return nil, err
	}
	if kind := resultOf(p.code.Node()); kind != "" && kind != "bool" {
		return nil, &Error{Source: source, Message: "a condition gives true or false, this one gives a " + kind}
	}
	return p, nil
}

// resultOf names the type of what an expression gives, or "" where only a
// run can tell.
func resultOf(root ast.Node) string {
	if call, ok := root.(*ast.CallNode); ok {
		return results[call.Callee.String()]
	}
	if t := root.Type(); t.Kind() != reflect.Interface {
		return typeName(reflect.Zero(t).Interface())
	}
	return ""
}

// String returns the expression's source.
func (p *Program) String() string { return p.source }

// Uses reports whether the expression mentions the name: what it does not
// use need not be in the environment.
func (p *Program) Uses(name string) bool { return p.names[name] != nil }

// Members returns which members of the value of that name the expression
// looks at. all is false if it may look at others too.
func (p *Program) Members(name string) (members []string, all bool) {
	u := p.names[name]
	if u == nil {
		return nil, true
	}
	return u.members, u.whole == 0
}

// Bool runs the expression, which must give true or false. The error is an
// *Error.
func (p *Program) Bool(env map[string]any) (bool, error) {
	if p.test != nil {
		if yes, sure := p.test(env); sure {
			return yes, nil
		}
	}
	v, err := p.Eval(env)
	if err != nil {
		return false, err
	}
	yes, err := truth(v)
	if err != nil {
		return false, &Error{Source: p.source, Message: err.Error(), Err: err}
	}
	return yes, nil
}

// Eval runs the expression. It returns nil, bool, string, Decimal or another
// number, a list, map[string]any, or a *Lazy that is a part of one in env;
// Encode takes all of them. The error is an *Error. env is not changed, and
// neither may the result be: it shares parts with env and with the program.
func (p *Program) Eval(env map[string]any) (any, error) {
	if p.loops {
		env = maps.Clone(env)
		if env == nil {
			env = map[string]any{}
		}
		env[stepsName] = &steps{left: maxSteps}
	}
	v, err := p.run(env)
	if err != nil {
		return nil, newError(p.source, err)
	}
	return v, nil
}

func (p *Program) run(env map[string]any) (any, error) {
	if p.loops { // its machine would go on holding what the loops went over
		return new(vm.VM).Run(p.code, env)
	}
	machine, _ := machines.Get().(*vm.VM)
	defer machines.Put(machine)
	defer func() {
		clear(machine.Stack[:cap(machine.Stack)])
		clear(machine.Variables)
	}()
	return machine.Run(p.code, env)
}

// machines holds virtual machines, whose stacks are worth keeping.
var machines = sync.Pool{New: func() any { return new(vm.VM) }}

// newError turns an error of expr, which spans lines and draws an arrow, into
// one of ours.
func newError(source string, err error) *Error {
	var at *file.Error
	if !errors.As(err, &at) {
		return &Error{Source: source, Message: err.Error(), Err: err}
	}
	return &Error{Source: source, Line: at.Line, Column: at.Column + 1, Message: at.Message, Err: at.Prev}
}

// suggest says which values there are where a name is not known.
func (e *Error) suggest(names []string) *Error {
	if strings.HasPrefix(e.Message, "unknown name") && len(names) > 0 {
		e.Message += ": values here are " + strings.Join(names, ", ")
	}
	return e
}

// stepsName is the variable with the steps that a run has left. The space
// keeps it out of reach of expressions.
const stepsName = " steps"

// steps counts the turns of all loops in a run.
type steps struct{ left int }

func tick(args ...any) (any, error) {
	s, ok := args[0].(*steps)
	if !ok {
		return nil, errors.New("no steps to count")
	}
	if s.left--; s.left < 0 {
		return nil, fmt.Errorf("more than %d steps", maxSteps)
	}
	return args[1], nil
}
