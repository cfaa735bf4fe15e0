package prepare

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/rule"
)

// cutLines returns what stands before and after the value of order_lines. It
// finds it with the library's decoder, not with the code under test.
func cutLines(t require.TestingT, order string) (before, after string) {
	d := jsontext.NewDecoder(strings.NewReader(order), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	_, err := d.ReadToken()
	require.NoError(t, err)
	for d.PeekKind() != '}' {
		name, err := d.ReadToken()
		require.NoError(t, err)
		isLines := name.String() == "order_lines"
		value, err := d.ReadValue()
		require.NoError(t, err)
		if isLines {
			end := int(d.InputOffset())
			return order[:end-len(value)], order[end:]
		}
	}
	return order, ""
}

// requireSplice checks the invariant: in and out differ in the value of
// order_lines alone.
func requireSplice(t require.TestingT, in, out string) {
	before, after := cutLines(t, in)
	newBefore, newAfter := cutLines(t, out)
	require.Equal(t, before, newBefore)
	require.Equal(t, after, newAfter)
}

// evidence are the rows of the checklist's table D.5 that are valid JSON:
// what decoding and encoding would lose.
var evidence = []struct{ name, member string }{
	{"large integer", `"x":12345678901234567890`},
	{"trailing zero", `"x":2960.10`},
	{"beyond float64", `"x":1E400`},
	{"exponent", `"x":1e3`},
	{"negative zero", `"x":-0.0`},
	{"key order", `"z":1,"a":2`},
	{"duplicate keys in an attribute", `"x":{"a":1,"a":2}`},
	{"white space", "\"x\" :\t[ 1 ,\r\n 2 ] "},
	{"HTML", `"x":"<b>&</b>"`},
	{"escapes", `"x":"caf\u00e9 \/"`},
	{"lone surrogate", `"x":"\ud800"`},
	{"raw U+2028", "\"x\":\"\u2028\""},
	{"other planes", `"x":"𝄞\ud834\udd1e"`},
}

func TestBytes(t *testing.T) {
	t.Parallel()
	for _, e := range evidence {
		t.Run("0-D30 prefix and suffix are byte-identical: "+e.name, func(t *testing.T) {
			t.Parallel()
			for _, in := range []string{
				`{"id":7,` + e.member + `,"order_lines":[{"quantity":2}]}`,
				`{"order_lines" : [{"quantity":2}],` + e.member + `,"id":7}` + "\n",
				`{"order_lines":[{"quantity":2,"inner":{` + e.member + `}}],"id":7}`,
			} {
				out := prepared(t, perUnit, in)
				require.NotEqual(t, in, out)
				requireSplice(t, in, out)
			}
		})
		t.Run("0-D37 members of a line are byte-equal in its jobs: "+e.name, func(t *testing.T) {
			t.Parallel()
			out := prepared(t, perUnit, `{"id":7,"order_lines":[ {`+e.member+`,"quantity" : 2 , "w":[ ]} ]}`)
			require.Equal(t, 2, strings.Count(out, `{`+e.member+`,"quantity" : 1 , "w":[ ],"job_id":`))
		})
	}
	t.Run("0-D31 only order_lines at depth 1 counts", func(t *testing.T) {
		t.Parallel()
		inner := `{"order_lines":[{"quantity":5}]}`
		in := `{"a":` + inner + `,"id":7,"order_lines":[{"order_lines":[{"quantity":5}],"quantity":1}],"b":[` + inner + `]}`
		out := prepared(t, perUnit, in)
		requireSplice(t, in, out)
		require.Equal(t, []string{`[{"quantity":5}]`}, member(jobsOf(t, out), "order_lines"))
	})
	t.Run("0-D32 Order_Lines is just another attribute", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"Order_Lines", "ORDER_LINES", "order_lines ", "orderlines"} {
			in := `{"` + name + `":[{"quantity":9}],"id":7,"order_lines":[{"quantity":2}]}`
			requireSplice(t, in, prepared(t, perUnit, in))
			require.Contains(t, refused(t, perUnit, `{"`+name+`":[{"quantity":9}],"id":7}`), "no order_lines")
		}
	})
	t.Run("0-D33 a key written with escapes is order_lines, its bytes stay", func(t *testing.T) {
		t.Parallel()
		for _, key := range []string{`order\u005flines`, `\u006frder_line\u0073`, `order\u005Flines`} {
			out := prepared(t, perUnit, `{"id":7,"`+key+`":[{"quantity":2}]}`)
			require.True(t, strings.HasPrefix(out, `{"id":7,"`+key+`":[{"quantity":1,"job_id":"7-1-1"`), out)
		}
	})
	t.Run("0-D33 a quantity written with escapes is the quantity", func(t *testing.T) {
		t.Parallel()
		out := prepared(t, perUnit, `{"id":7,"order_lines":[{"qu\u0061ntity":2}]}`)
		require.Equal(t, 2, strings.Count(out, `{"qu\u0061ntity":1,"job_id"`))
	})
}

// The golden file holds an order with all of the table's features and what
// becomes of it, both exactly as they are on the wire.
func TestBytes_Golden(t *testing.T) {
	t.Parallel()
	t.Run("0-D30 the evidence table in one order", func(t *testing.T) {
		t.Parallel()
		in, err := os.ReadFile("testdata/evidence.in.json")
		require.NoError(t, err)
		want, err := os.ReadFile("testdata/evidence.want.json")
		require.NoError(t, err)
		for i, e := range evidence {
			if i != 5 && i != 7 { // whose members have other names or spaces there
				_, value, _ := strings.Cut(e.member, ":")
				require.Contains(t, string(in), value, e.name)
			}
		}
		out, err := newPreparer(t, sample()).Prepare(in)
		require.NoError(t, err)
		require.Equal(t, string(want), string(out))
		requireSplice(t, string(in), string(out))
		require.False(t, bytes.Equal(in, out))
	})
}

// What the original did, and what a plain Go program would do: the check for
// the invariant has to notice.
func TestBytes_TheCheckNoticesReencoding(t *testing.T) {
	t.Parallel()
	in := `{"b":2960.10, "order_lines":[],"a":1}`
	tree, err := rule.Decode([]byte(in))
	require.NoError(t, err)
	out, err := rule.Encode(tree)
	require.NoError(t, err)
	before, _ := cutLines(t, in)
	newBefore, _ := cutLines(t, string(out))
	require.NotEqual(t, before, newBefore)
}
