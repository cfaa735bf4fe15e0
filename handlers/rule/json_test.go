package rule

import (
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestDecode(t *testing.T) {
	t.Parallel()
	tree, err := Decode([]byte(` {"n":2960.10,"big":1E400,"s":"\u00e9","t":true,"x":null,"a":[]} `))
	require.NoError(t, err)
	require.Equal(t, map[string]any{
		"n": Decimal{text: "2960.10"}, "big": Decimal{text: "1E400"}, "s": "é", "t": true, "x": nil, "a": []any{},
	}, tree)
	out, err := Encode(tree)
	require.NoError(t, err)
	require.Equal(t, `{"a":[],"big":1E400,"n":2960.10,"s":"é","t":true,"x":null}`, string(out))
}

func TestDecode_RefusesWhatIsNotStrict(t *testing.T) {
	t.Parallel()
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for doc, want := range map[string]string{
		``: "EOF", `{"a":1`: "EOF", `[1,`: "EOF", `{"a":1} x`: "invalid", `1 2`: "more than one value", `{"a":1,"a":2}`: "duplicate",
		"\"\xff\"": "UTF-8", `"\ud800"`: "surrogate", `NaN`: "invalid", "\ufeff{}": "invalid", `01`: "more than one", nested(MaxDepth + 1): "levels deep",
	} {
		_, err := Decode([]byte(doc))
		require.ErrorContains(t, err, want, doc)
	}
	_, err := Decode([]byte(nested(MaxDepth)))
	require.NoError(t, err)
}

func TestEncode_RefusesWhatIsNotJSON(t *testing.T) {
	t.Parallel()
	deep := any(1)
	for range MaxDepth + 1 {
		deep = []any{deep}
	}
	for want, v := range map[string]any{"struct": struct{}{}, "levels deep": deep, "UTF-8": "\xff", "map[string]int": map[string]int{}} {
		_, err := Encode(v)
		require.ErrorContains(t, err, want)
	}
}

func TestEncode_IsDeterministic(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		object := map[string]any{}
		for name, n := range rapid.MapOf(rapid.String(), rapid.Int64()).Draw(t, "object") {
			object[name] = NewDecimal(n)
		}
		first, err := Encode(object)
		require.NoError(t, err)
		tree, err := Decode(first)
		require.NoError(t, err)
		again, err := Encode(tree)
		require.NoError(t, err)
		require.Equal(t, string(first), string(again))
	})
}

func TestLazy_Get(t *testing.T) {
	t.Parallel()
	l := NewLazy([]byte(`{"a":"\u00e9","n":1.50,"t":true,"f":false,"x":null,"o":{"b":[1]},"d":1,"d":2,"bad":"\ud800"}`))
	for name, want := range map[string]any{"a": "é", "n": Decimal{text: "1.50"}, "t": true, "f": false, "x": nil, "none": nil} {
		for range 2 { // once decoded, once remembered
			v, err := l.get(name)
			require.NoError(t, err, name)
			require.Equal(t, want, v, name)
		}
	}
	v, err := get(l, "o")
	require.NoError(t, err)
	require.Equal(t, `{"b":[1]}`, string(v.(*Lazy).Raw()))
	for name, want := range map[string]string{"d": "twice", "bad": "not Unicode"} {
		_, err := l.get(name)
		require.ErrorContains(t, err, want)
	}
	l.Reset([]byte(" {\"a\":2}\n"))
	v, err = l.get("a")
	require.NoError(t, err)
	require.Equal(t, Decimal{text: "2"}, v)
}

func TestDecimal_Int64(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int64{"0": 0, "-0": 0, "2": 2, "2.0": 2, "2e0": 2, "20e-1": 2, "-3": -3, "9223372036854775807": 1<<63 - 1} {
		d, err := ParseDecimal(text)
		require.NoError(t, err)
		n, ok := d.Int64()
		require.True(t, ok, text)
		require.Equal(t, want, n, text)
	}
	for _, text := range []string{"1.5", "9223372036854775808", "1e400", "1e999999999999"} {
		d, err := ParseDecimal(text)
		require.NoError(t, err)
		_, ok := d.Int64()
		require.False(t, ok, text)
	}
	for _, text := range []string{"", "-", "+1", "01", "1.", ".5", "1e", "1e+", "0x1", "NaN", "Infinity", " 1", "1_0"} {
		_, err := ParseDecimal(text)
		require.ErrorIs(t, err, errNotNumber, text)
	}
}

func TestDecimal_Arithmetic(t *testing.T) {
	t.Parallel()
	cents := rapid.Custom(func(t *rapid.T) Decimal {
		n := rapid.Int64Range(-1e12, 1e12).Draw(t, "n")
		return Decimal{text: apd.New(n, rapid.Int32Range(-6, 0).Draw(t, "exponent")).Text('f')}
	})
	rapid.Check(t, func(t *rapid.T) {
		a, b := cents.Draw(t, "a"), cents.Draw(t, "b")
		sum, err := a.Add(b)
		require.NoError(t, err)
		back, err := sum.Sub(b)
		require.NoError(t, err)
		order, err := back.Cmp(a)
		require.NoError(t, err)
		require.Zero(t, order, "a + b - b == a")
		require.True(t, isNumber(sum.String()), sum.String())
	})
}

func FuzzDecode(f *testing.F) {
	for _, doc := range []string{sample, `[1,2.50,"\u00e9"]`, `{"a":{}}`, `1e400`, `"\ud800"`, `{"a":1,"a":2}`, "\ufeff1", `-0.0`} {
		f.Add([]byte(doc))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		tree, err := Decode(doc)
		if err != nil {
			return
		}
		out, err := Encode(tree)
		require.NoError(t, err)
		again, err := Decode(out)
		require.NoError(t, err)
		require.Equal(t, tree, again)
	})
}
