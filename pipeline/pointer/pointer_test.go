package pointer

import (
	"encoding/json"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

const sample = ` {"orderId" : "A-1", "n":12.50, "a\/b":1, "m~n":2, "caf\u00e9":3, "":4, "x":null,
	"lines":[ {"sku":"a \"quoted\" \\"}, {"sku":"b","tags":[true,false]} ], "id":7} `

func TestLookup(t *testing.T) {
	t.Parallel()
	for path, want := range map[string]string{
		"/orderId":        `"A-1"`,
		"/n":              `12.50`,
		"/a~1b":           `1`,
		"/m~0n":           `2`,
		"/café":           `3`,
		"/":               `4`,
		"/x":              `null`,
		"/id":             `7`,
		"/lines/0/sku":    `"a \"quoted\" \\"`,
		"/lines/1/sku":    `"b"`,
		"/lines/1/tags/1": `false`,
		"/lines/1/tags":   `[true,false]`,
		"":                strings.TrimSpace(sample),
	} {
		value, ok, err := Lookup([]byte(sample), path)
		require.NoError(t, err, path)
		require.True(t, ok, path)
		require.Equal(t, want, string(value), path)
	}
	for _, path := range []string{"/orderid", "/lines/2", "/lines/01", "/lines/-", "/lines/x", "/lines/-1", "/n/deeper", "/x/y", "/orderId/0", "/lines/99999999999999999999"} {
		_, ok, err := Lookup([]byte(sample), path)
		require.NoError(t, err, path)
		require.False(t, ok, path)
	}
}

func TestLookup_FirstOfTheSameName(t *testing.T) {
	t.Parallel()
	value, ok, err := Lookup([]byte(`{"a":1,"\u0061":2}`), "/a")
	require.NoError(t, err)
	require.True(t, ok)
	require.Equal(t, "1", string(value))
}

func TestLookup_Errors(t *testing.T) {
	t.Parallel()
	for _, path := range []string{"id", "/a~2", "/a~", " /a"} {
		_, ok, err := Lookup([]byte(sample), path)
		require.ErrorIs(t, err, ErrSyntax, path)
		require.False(t, ok)
	}
	for _, doc := range []string{"", " ", "{", `{"a`, `{"a"`, `{"a":`, `{"a":}`, `{a:1}`, `{"a" 1}`, `{"b":1 "a":2}`, `{"b":"x\"}`, `{"b":[1}`, `{"b":{},`} {
		_, ok, err := Lookup([]byte(doc), "/a")
		require.ErrorIs(t, err, ErrMalformed, doc)
		require.False(t, ok)
	}
}

func TestLookup_AllocatesNothing(t *testing.T) {
	doc := []byte(sample)
	require.Zero(t, testing.AllocsPerRun(100, func() {
		if _, ok, err := Lookup(doc, "/lines/1/tags"); !ok || err != nil {
			t.Error(ok, err)
		}
	}))
}

// The value is a part of the document, and appending to it leaves the
// document alone.
func TestLookup_ValueCannotGrowIntoTheDocument(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"a":1,"b":2}`)
	value, _, err := Lookup(doc, "/a")
	require.NoError(t, err)
	_ = append(value, "xxx"...)
	require.Equal(t, `{"a":1,"b":2}`, string(doc))
}

func TestText(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{`"A-1"`: "A-1", `"caf\u00e9"`: "café", `12.50`: "12.50", `true`: "true", `""`: ""} {
		text, ok := Text([]byte(raw))
		require.True(t, ok, raw)
		require.Equal(t, want, text)
	}
	for _, raw := range []string{``, `null`, `{}`, `[1]`, `"\ud800"`} {
		_, ok := Text([]byte(raw))
		require.False(t, ok, raw)
	}
}

// The short way for plain strings must not say anything else than the long one.
func TestText_IsWhatJSONHas(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		inner := rapid.SliceOf(rapid.SampledFrom([]byte("aZ ~\"\\\x7f\n\x1f\xc3\xa9\xffu00e9"))).Draw(t, "inner")
		raw := []byte(`"` + string(inner) + rapid.SampledFrom([]string{`"`, ``}).Draw(t, "end"))
		want, err := jsontext.AppendUnquote(nil, raw)
		text, ok := Text(raw)
		require.Equal(t, err == nil, ok, "%s", raw)
		require.Equal(t, string(want), text, "%s", raw)
	})
}

func TestCursor_EnterAndLeave(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"a":[{"x":1},{"y":2}],"b":[],"c":3}`)
	var seen []string
	c := Open(doc, 0)
	require.True(t, c.IsObject())
	for c.Next() {
		seen = append(seen, string(c.Name.Of(doc)))
		inner := c.Enter()
		for inner.Next() {
			seen = append(seen, string(inner.Value().Of(doc)))
		}
		require.NoError(t, inner.Err())
		c.Leave(&inner)
	}
	require.NoError(t, c.Err())
	require.Equal(t, len(doc), c.End())
	require.Equal(t, []string{`"a"`, `{"x":1}`, `{"y":2}`, `"b"`, `"c"`}, seen)
}

func TestCursor_LeavingBeforeTheEndSkipsTheRest(t *testing.T) {
	t.Parallel()
	doc := []byte(`{"a":[1,2],"b":3}`)
	c := Open(doc, 0)
	require.True(t, c.Next())
	inner := c.Enter()
	require.True(t, inner.Next())
	c.Leave(&inner)
	require.Equal(t, `[1,2]`, string(c.Value().Of(doc)))
	require.True(t, c.Next())
	require.Equal(t, `3`, string(c.Value().Of(doc)))
}

// Whatever encoding/json reads, the cursor cuts at the same places.
func TestCursor_AgreesWithEncodingJSON(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		object := rapid.MapOf(rapid.String(), rapid.SliceOf(rapid.String())).Draw(t, "object")
		doc, err := json.MarshalIndent(object, "", rapid.SampledFrom([]string{"", " ", "\t"}).Draw(t, "indent"))
		require.NoError(t, err)
		var want map[string]json.RawMessage
		require.NoError(t, json.Unmarshal(doc, &want))
		c := Open(doc, 0)
		n := 0
		for ; c.Next(); n++ {
			name, ok := Text(c.Name.Of(doc))
			require.True(t, ok)
			require.True(t, c.NameIs(name))
			require.Equal(t, string(want[name]), string(c.Value().Of(doc)))
		}
		require.NoError(t, c.Err())
		require.Len(t, want, n)
		require.Equal(t, len(doc), c.End())
	})
}

// walks reports whether a walk over all of doc comes to its end.
func walks(doc []byte) bool {
	span, ok, err := Find(doc, "")
	return ok && err == nil && space(doc, span.End) == len(doc) && utf8.Valid(doc)
}

// isValid asks the library, which is the measure.
func isValid(doc []byte) bool {
	return jsontext.Value(doc).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)) && utf8.Valid(doc)
}

func TestFind_ChecksWhatItWalksOver(t *testing.T) {
	t.Parallel()
	for _, doc := range []string{
		`null`, `true`, `false`, `tru`, `truE`, `nul`, `-`, `-1`, `-0`, `-0.0e-0`, `01`, `1.`, `1.5`, `.5`, `1e`, `1e+`, `1E400`, `+1`, `NaN`, `Infinity`,
		`""`, `"`, `"\"`, `"\\"`, `"\x"`, `"\u12"`, `"\u12G4"`, `"\ud800"`, `"\u00e9\/\b\f\n\r\t"`, "\"\x1f\"", "\"\x7f\"", "\"\n\"", "\"12345678\x01\"", "\"\xff\"", `"é€𝄞"`,
		`{}`, `{ }`, `{"a":1}`, `{"a":1,}`, `{,}`, `{"a"}`, `{"a":}`, `{a:1}`, `{"a":1 "b":2}`, `{"a":1;"b":2}`, `{"a":1,"a":2}`, `{1:2}`, `{"a":1]`, `{`,
		`[]`, `[ ]`, `[1]`, `[1,]`, `[,1]`, `[1 2]`, `[1}`, `[`, `[[[]]`, `[] []`, "\ufeff{}", "", " ", " 1 ", "1\x00", "\x00", `["a\"b", {"c\\": [true, null]}]`,
	} {
		require.Equal(t, isValid([]byte(doc)), walks([]byte(doc)), "%q", doc)
	}
}

// Eight bytes are looked at a time: every byte at every place among them.
func TestFind_ChecksEveryByteOfAString(t *testing.T) {
	t.Parallel()
	for b := range 256 {
		for place := range 20 {
			doc := []byte(`"abcdefghijklmnopqrst"`)
			doc[1+place] = byte(b)
			require.Equal(t, isValid(doc), walks(doc), "%q", doc)
		}
	}
}

func TestFind_EndsAtMaxDepth(t *testing.T) {
	t.Parallel()
	for _, pair := range []string{"[]", "{}"} {
		for _, depth := range []int{MaxDepth, MaxDepth + 1, 1_000_000} {
			open, end := pair[:1], pair[1:]
			if open == "{" {
				open = `{"":`
			}
			doc := strings.Repeat(open, depth-1) + pair + strings.Repeat(end, depth-1)
			require.Equal(t, depth == MaxDepth, walks([]byte(doc)), depth)
		}
	}
	c := Open([]byte(strings.Repeat("[", 2*MaxDepth)), 0)
	depth := 0
	for ; c.Next(); depth++ {
		c = c.Enter()
	}
	require.Equal(t, MaxDepth, depth)
	require.ErrorIs(t, c.Err(), ErrMalformed)
}

func FuzzFind(f *testing.F) {
	f.Add([]byte(sample))
	f.Add([]byte(`{"a":"\`))
	f.Add([]byte(`[1.5e-3,true,"\ud800"]`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		require.Equal(t, isValid(doc), walks(doc))
	})
}

func FuzzLookup(f *testing.F) {
	for _, path := range []string{"/orderId", "/lines/1/tags/0", "", "/a~1b", "x"} {
		f.Add([]byte(sample), path)
	}
	f.Add([]byte(`{"a":"\`), "/a")
	f.Add([]byte(`[[[]`), "/0/0")
	f.Fuzz(func(t *testing.T, doc []byte, path string) {
		value, ok, err := Lookup(doc, path)
		if err != nil || !ok {
			require.Nil(t, value)
			return
		}
		if jsontext.Value(doc).IsValid() {
			require.True(t, jsontext.Value(value).IsValid(), "%q of %q: %q", path, doc, value)
		}
	})
}

func BenchmarkLookup(b *testing.B) {
	doc := []byte(sample)
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, _ := Lookup(doc, "/id"); !ok {
			b.Fatal("not found")
		}
	}
}
