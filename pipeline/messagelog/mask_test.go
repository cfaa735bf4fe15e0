package messagelog

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

func TestMask(t *testing.T) {
	t.Parallel()
	for doc, want := range map[string]string{
		`{"a":1,"b":{"c":"x"}}`:                `{"a":"***","b":{"c":"***"}}`,
		"{ \"b\" :\t{\"c\" :[1, {}] } }\n":     "{ \"b\" :\t{\"c\" :\"***\" } }\n",
		`{"b":{"c":1.50e1,"d":1.50e1}}`:        `{"b":{"c":"***","d":1.50e1}}`,
		`{"d":[1,{"e":"x"}]}`:                  `{"d":[1,{"e":"***"}]}`,
		`{"\u0061":"secret"}`:                  `{"\u0061":"***"}`,
		`{"x":"secret in a place not masked"}`: `{"x":"secret in a place not masked"}`,
		`{"a":1,"a":"secret"}`:                 ``, // the second would stay
		`{"a":1`:                               ``,
		"{\"a\":\"\xff\"}":                     ``,
		`no JSON`:                              ``,
	} {
		require.Equal(t, want, string(mask([]byte(doc), []string{"/a", "/b/c", "/d/1/e"})), doc)
	}
	require.Equal(t, "no JSON", string(mask([]byte("no JSON"), nil)), "without a mask it is kept")
}

// TestMask_KeepsEachOtherByte: whatever stands around the value.
func TestMask_KeepsEachOtherByte(t *testing.T) {
	t.Parallel()
	value := rapid.SampledFrom([]string{`1.50`, `"x\"y"`, `[1, 2]`, `{ "z" : null }`, `true`, `"\u00e9 é"`})
	space := rapid.StringOfN(rapid.SampledFrom([]rune(" \t\n\r")), 0, 3, -1)
	rapid.Check(t, func(r *rapid.T) {
		gap := func() string { return space.Draw(r, "space") }
		before := gap() + "{" + gap() + `"x"` + gap() + ":" + gap() + value.Draw(r, "x") + gap() + "," + gap() + `"a"` + gap() + ":" + gap()
		after := gap() + "," + gap() + `"y"` + gap() + ":" + value.Draw(r, "y") + gap() + "}" + gap()
		doc := before + value.Draw(r, "a") + after
		original := strings.Clone(doc)
		require.Equal(r, before+hidden+after, string(mask([]byte(doc), []string{"/a"})))
		require.Equal(r, original, doc, "the message's own bytes are not touched")
	})
}
