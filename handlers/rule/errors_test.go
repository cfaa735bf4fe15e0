package rule

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestProgram_EvalErrors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, want string }{
		{`order.nothing < 1`, `cannot compare nil with 1`},
		{`1 < order.id`, `cannot compare 1 with "A1"`},
		{`order.lines > 1`, `cannot compare array with 1`},
		{`order.id + 1`, `cannot add "A1" and 1`},
		{`order.nothing * 2`, `cannot multiply nil and 2`},
		{`1 / 0`, `division by zero`},
		{`1 % 0`, `division by zero`},
		{`order.id and true`, `a condition must be true or false, not "A1"`},
		{`not order.nothing`, `not nil`},
		{`order.total ? 1 : 2`, `not 2960.10`},
		{`filter(order.lines, .sku)`, `a condition must be true or false, not "L-1"`},
		{`order.total startsWith "2"`, `expected text, got 2960.10`},
		{`order.id.deeper`, `cannot get "deeper" of string`},
		{`order.lines["sku"]`, `cannot get "sku" of array`},
		{`order[0]`, `cannot get 0 of map`},
		{`"x" in "xyz"`, `cannot look for anything in "xyz"`},
		{`sum([1, nil])`, `cannot add 1 and nil`},
		{`decimal("1e")`, `not a number`},
		{`sort([1, "a"])`, `cannot compare`},
		{`sort([1], "up")`, `"asc" or "desc"`},
		{`keys(1)`, `expected an object, got 1`},
		{`take(1, 1)`, `expected a list, got 1`},
		{`string([])`, `cannot make text of array`},
		{`len(1)`, `1 has no length`},
		{`fromJSON("{\"a\":1,\"a\":2}")`, `duplicate`},
		{`[1][0.5:]`, `expected an index, got 0.5`},
		{`round(1, -1)`, `cannot round`},
		{`order.id()`, ``},
	} {
		t.Run(c.source, func(t *testing.T) {
			t.Parallel()
			for name, env := range environments(t) {
				p, err := Compile(c.source, "order")
				if err == nil {
					_, err = p.Eval(env)
				}
				var fault *Error
				require.ErrorAs(t, err, &fault, name)
				require.ErrorContains(t, err, c.want, name)
				require.NotContains(t, err.Error(), "\n", name)
			}
		})
	}
}

func TestProgram_EvalIsBounded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, want string }{
		{`reduce(1..60, #acc + #acc, "x")`, `1 MiB`},
		{`reduce(1..60, join([#acc, #acc]), "x")`, `1 MiB`},
		{`reduce(1..60, replace(#acc, "x", "xx"), "x")`, `1 MiB`},
		{`reduce(1..60, toJSON(#acc), "\"")`, `1 MiB`},
		{`reduce(1..60, concat(#acc, #acc), [1])`, `memory budget`},
		{`reduce(1..60, #acc * #acc, 99)`, `out of range`},
		{`reduce(1..60, #acc / 1000000000000, 1)`, ``},
		{`1..100000000`, `memory budget`},
		{`let n = 1..900; all(n, all(n, all(n, true)))`, `more than 1000000 steps`},
		{`reduce(1..60, [#acc, #acc], 1) == reduce(1..60, [#acc, #acc], 1)`, `steps to compare`},
		{`reduce(1..62, [#acc, #acc], 1) | toJSON()`, `16 MiB`},
		{`reduce(1..70, [#acc], 1) | toJSON()`, `levels deep`},
		{`decimal("1e999999999") + 1`, `out of range`},
		{`decimal("1e-999999999") < 1`, `out of range`},
		{`decimal("1e2000") + 0.1`, `out of range`},
		{`round(decimal("1e2000"), 2)`, ``},
	} {
		t.Run(c.source, func(t *testing.T) {
			t.Parallel()
			p, err := Compile(c.source)
			require.NoError(t, err)
			_, err = p.Eval(nil)
			if c.want != "" {
				require.ErrorContains(t, err, c.want)
			}
		})
	}
}

func TestCompile_Errors(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		source       string
		line, column int
		want         string
	}{
		{`line.type == typo`, 1, 14, `unknown name typo: values here are `},
		{"line.type ==\n  typo", 2, 3, `unknown name typo`},
		{`line.type ==`, 1, 12, `unexpected token`},
		{`line.a ** 2`, 1, 0, `no operator **`},
		{`now()`, 1, 1, `unknown name now`},
		{`groupBy([], #)`, 1, 1, `groupBy`},
		{`$env`, 1, 1, `$env`},
		{`line.id()`, 1, 0, `no methods`},
		{`line.id matches line.pattern`, 1, 0, `literal`},
		{`line.id matches "["`, 1, 0, `missing closing ]`},
		{`len()`, 1, 1, `not enough arguments`},
		{`b"x"`, 1, 1, `byte`},
		{``, 1, 0, `unexpected`},
		{strings.Repeat("(", 20<<10), 0, 0, `longer than 16384 bytes`},
		{strings.Repeat("(", 10<<10), 1, 0, ``},
	} {
		t.Run(fmt.Sprintf("%.20s", c.source), func(t *testing.T) {
			t.Parallel()
			_, err := Compile(c.source, "line")
			var fault *Error
			require.ErrorAs(t, err, &fault)
			require.ErrorContains(t, err, c.want)
			require.Equal(t, c.line, fault.Line)
			if c.column > 0 {
				require.Equal(t, c.column, fault.Column, fault.Message)
			}
		})
	}
}
