package rule

import (
	"sync"
	"testing"

	"github.com/stretchr/testify/require"
)

const sample = `{"id":"A1","total":2960.10,"big":12345678901234567890,"note":null,"none":[],` +
	`"lines":[{"sku":"L-1","type":"lens","quantity":2,"price":0.10},{"sku":"F-1","type":"frame","quantity":2.0,"price":0.20,"frame":{"color":"red"}}]}`

// environments holds the sample as a decoded tree and as a lazy document:
// every expression must give the same on both.
func environments(t *testing.T) map[string]map[string]any {
	t.Helper()
	tree, err := Decode([]byte(sample))
	require.NoError(t, err)
	return map[string]map[string]any{
		"decoded": {"order": tree},
		"lazy":    {"order": NewLazy([]byte(sample))},
	}
}

func TestProgram_Eval(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ source, want string }{
		// Numbers are exact.
		{`0.1 + 0.2`, `0.3`},
		{`0.1 + 0.2 == 0.3`, `true`},
		{`order.total`, `2960.10`},
		{`order.total == 2960.1`, `true`},
		{`order.big`, `12345678901234567890`},
		{`order.big + 1`, `12345678901234567891`},
		{`order.big > 12345678901234567889.5`, `true`},
		{`7 / 2`, `3.5`},
		{`1 / 3`, `0.3333333333333333333333333333333333`},
		{`7 % 3`, `1`},
		{`-7 % 3`, `-1`},
		{`2 - 5 * 3`, `-13`},
		{`-order.total`, `-2960.10`},
		{`0 - 0.0`, `0.0`},
		{`1.10`, `1.10`},
		{`1_000.50 + .5`, `1001.00`},
		{`0x10`, `16`},
		{`[1.50, 2]`, `[1.50,2]`},
		{`{"b": 1.10, "a": [order.total]}`, `{"a":[2960.10],"b":1.10}`},
		{`order.lines[0].quantity == order.lines[1].quantity`, `true`},
		{`order.total < order.big and order.total <= 2960.100 and order.total >= 2960.1 and order.big > 1`, `true`},
		{`order.id < "B"`, `true`},
		{`round(2.345, 2)`, `2.35`},
		{`round(-2.5)`, `-3`},
		{`floor(-1.5)`, `-2`},
		{`ceil(1.2)`, `2`},
		{`int(-1.9)`, `-1`},
		{`abs(-1.50)`, `1.50`},
		{`decimal("1.50") * 2`, `3.00`},
		{`min(3, 1.5, 2)`, `1.5`},
		{`max(order.lines[0].price, 0.05)`, `0.10`},
		{`max([])`, `null`},
		{`sum([0.1, 0.2, 1])`, `1.3`},
		{`sum(order.lines, .price * .quantity)`, `0.600`},
		{`sum([])`, `0`},

		// What is missing is nil.
		{`order.nothing`, `null`},
		{`order.nothing.deeper`, `null`},
		{`order.lines[9].sku`, `null`},
		{`order.lines[-1].sku`, `"F-1"`},
		{`order.lines[1 - 1].sku`, `"L-1"`},
		{`order.note == nil`, `true`},
		{`order.lines[0].frame != nil`, `false`},
		{`order.nothing ?? "else"`, `"else"`},
		{`order?.lines?.[0]?.sku`, `"L-1"`},
		{`"x" in order.nothing`, `false`},
		{`order.nothing startsWith "L"`, `false`},

		// Equality of anything with anything.
		{`order.id == 1`, `false`},
		{`[1, {"a": 2.0}] == [1.0, {"a": 2}]`, `true`},
		{`[1] == [1, 2] or {"a": 1} == {"b": 1} or [1] == nil`, `false`},
		{`order.lines[0] == order.lines[0]`, `true`},
		{`order.lines[0] == order.lines[1]`, `false`},
		{`2 in [1, 2.0]`, `true`},
		{`order.id in ["A0", "A1"]`, `true`},
		{`order.id not in ["A0"]`, `true`},
		{`"id" in order`, `true`},

		// Text.
		{`order.id + "-" + "x"`, `"A1-x"`},
		{`order.lines[0].sku startsWith "L" and order.lines[0].sku endsWith "1" and order.id contains "A"`, `true`},
		{`order.id matches "^[A-Z][0-9]$"`, `true`},
		{`upper("strae") + lower("É") + trim(" x ")`, `"STRAEéx"`},
		{`split("a,b", ",")[1]`, `"b"`},
		{`replace("a.b.c", ".", "-")`, `"a-b-c"`},
		{`join(map(order.lines, .sku), " ")`, `"L-1 F-1"`},
		{`join([1.50, true, nil])`, `"1.50true"`},
		{`string(order.total) + string(nil)`, `"2960.10"`},
		{`indexOf("abc", "c") + 1`, `3`},

		// Lists and objects.
		{`all(order.lines, .quantity == 2)`, `true`},
		{`any(order.lines, .type == "lens") and none(order.lines, .quantity > 2) and one(order.lines, .frame.color == "red")`, `true`},
		{`filter(order.lines, .type == "lens")[0].sku`, `"L-1"`},
		{`count(order.lines, .price > 0.1)`, `1`},
		{`map(order.lines, #index + 1)`, `[1,2]`},
		{`map(1..3, # * 2)`, `[2,4,6]`},
		{`reduce(1..4, #acc + #, 0)`, `10`},
		{`find(order.lines, .type == "frame").sku`, `"F-1"`},
		{`len(order.lines) + len(order.id) + len(order.lines[1].frame)`, `5`},
		{`len(order.none)`, `0`},
		{`first(order.lines).sku + last(order.lines).sku`, `"L-1F-1"`},
		{`take([1, 2, 3], 2)`, `[1,2]`},
		{`[1, 2, 3][1:]`, `[2,3]`},
		{`reverse([1, 2])`, `[2,1]`},
		{`concat([1], ["a"])`, `[1,"a"]`},
		{`sort([10, 9.5, 9])`, `[9,9.5,10]`},
		{`sort(["b", "a"], "desc")`, `["b","a"]`},
		{`keys(order.lines[1].frame)`, `["color"]`},
		{`values({"b": 1, "a": 2})`, `[2,1]`},
		{`get(order, "id")`, `"A1"`},
		{`type(order) + type(order.lines) + type(order.total) + type(nil) + type(true) + type("")`, `"maparraynumbernilboolstring"`},
		{`toJSON(order.lines[0].price)`, `"0.10"`},
		{`fromJSON("{\"a\": 1.50}").a`, `1.50`},

		// Control.
		{`order.total > 1000 ? "large" : "small"`, `"large"`},
		{`let n = order.total * 2; n + 1`, `5921.20`},
		{`order.lines | filter(.quantity > 1) | map(.sku)`, `["L-1","F-1"]`},
		{`true or order.id < 1`, `true`},
	} {
		t.Run(c.source, func(t *testing.T) {
			t.Parallel()
			p, err := Compile(c.source, "order")
			require.NoError(t, err)
			require.Equal(t, c.source, p.String())
			for name, env := range environments(t) {
				v, err := p.Eval(env)
				require.NoError(t, err, name)
				out, err := Encode(v)
				require.NoError(t, err, name)
				require.Equal(t, c.want, string(out), name)
			}
		})
	}
}

func TestProgram_EvalKeepsPartsOfALazyDocumentByteForByte(t *testing.T) {
	t.Parallel()
	p, err := Compile(`{"copy": payload.part}`, "payload")
	require.NoError(t, err)
	v, err := p.Eval(map[string]any{"payload": NewLazy([]byte(`{"part": { "b":1.0, "a" : "\u0041" }}`))})
	require.NoError(t, err)
	out, err := Encode(v)
	require.NoError(t, err)
	require.Equal(t, `{"copy":{ "b":1.0, "a" : "\u0041" }}`, string(out))
}

func TestCompileBool(t *testing.T) {
	t.Parallel()
	for source, want := range map[string]string{
		`1 + 1`: "number", `"yes"`: "string", `2`: "number", `[true]`: "array", `{}`: "map", `len("a")`: "number", `upper("a")`: "string", `sum([])`: "number",
	} {
		_, err := CompileBool(source)
		require.ErrorContains(t, err, "this one gives a "+want, source)
	}
	for _, source := range []string{`true`, `1 < 2`, `not false`, `true and true`, `"a" in ["a"]`, `all([], true)`, `"a" matches "a"`} {
		p, err := CompileBool(source)
		require.NoError(t, err, source)
		yes, err := p.Bool(nil)
		require.NoError(t, err, source)
		require.True(t, yes, source)
	}
	p, err := CompileBool(`line.flag`, "line")
	require.NoError(t, err)
	_, err = p.Bool(map[string]any{"line": map[string]any{"flag": "yes"}})
	require.ErrorContains(t, err, `a condition must be true or false, not "yes"`)
}

func TestProgram_Uses(t *testing.T) {
	t.Parallel()
	p, err := Compile(`line.type == "order" and len(line.x) > 0`, "line", "order")
	require.NoError(t, err)
	require.True(t, p.Uses("line"))
	require.False(t, p.Uses("order"))
	members, all := p.Members("line")
	require.Equal(t, []string{"type", "x"}, members)
	require.True(t, all)

	for _, source := range []string{`keys(line)`, `line.a == 1 and line == nil`, `line[order.name]`, `let l = line; l.type`} {
		p, err := Compile(source, "line", "order")
		require.NoError(t, err)
		_, all := p.Members("line")
		require.False(t, all, source)
	}
}

func TestProgram_ManyGoroutinesAtOnce(t *testing.T) {
	t.Parallel()
	p, err := Compile(`sum(order.lines, .price * 1.5) + 0.5 > 0.94 and order.id in ["A1", 7.0]`, "order")
	require.NoError(t, err)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				yes, err := p.Bool(map[string]any{"order": NewLazy([]byte(sample))})
				if err != nil || !yes {
					t.Errorf("got %v, %v", yes, err)
				}
			}
		})
	}
	group.Wait()
}

func TestProgram_AllocatesThreeTimesARule(t *testing.T) {
	p, err := CompileBool(`line.type == "lens"`, "line")
	require.NoError(t, err)
	p.test = nil // the long way
	line := NewLazy([]byte(`{"sku":"L-1","type":"lens","quantity":2}`))
	env := map[string]any{"line": line}
	allocs := testing.AllocsPerRun(200, func() {
		line.Reset(line.Raw())
		yes, err := p.Bool(env)
		if err != nil || !yes {
			t.Errorf("got %v, %v", yes, err)
		}
	})
	require.LessOrEqual(t, allocs, 3.0)
}

func FuzzProgram(f *testing.F) {
	for _, source := range []string{
		`order.total + 0.1 > 1`, `sum(order.lines, .price)`, `order.lines[0].sku matches "^L"`, `let x = 1; x ?? 2`,
		`{"a": [1, .5]} | toJSON()`, `sort(map(order.lines, .quantity))`, `1e400`, `0x_`, `"\xff"`, `order.lines[1:0]`,
	} {
		f.Add(source, sample)
	}
	f.Add(`order.a`, `{"a":"\ud800"}`)
	f.Add(`order.a.b`, `{"a":{"b":[}`)
	f.Fuzz(func(t *testing.T, source, doc string) {
		p, err := Compile(source, "order")
		if err != nil {
			return
		}
		v, err := p.Eval(map[string]any{"order": NewLazy([]byte(doc))})
		if err != nil {
			return
		}
		_, _ = Encode(v)
		tree, err := Decode([]byte(doc))
		if err != nil {
			return
		}
		_, err = p.Eval(map[string]any{"order": tree})
		require.NoError(t, err, "a decoded document must do where a lazy one does")
	})
}
