package prepare

import (
	"fmt"
	"strings"
	"testing"

	"github.com/cockroachdb/apd/v3"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/handlers/rule"
)

// Random orders, as text: with odd spaces, escapes and numbers that a decoder
// would not give back.
var (
	spaces  = rapid.SampledFrom([]string{"", "", "", " ", "\n  ", "\t"})
	numbers = rapid.SampledFrom([]string{"0.10", "-0.0", "1E400", "12345678901234567890", "1e3", "7"})
	texts   = rapid.SampledFrom([]string{`""`, `"lens"`, `"\u00e9\/"`, `"\ud800"`, "\"\u2028<&>\"", `"a \"b\" \\"`, `"order_lines"`})
	values  = rapid.OneOf(numbers, texts, rapid.SampledFrom([]string{
		`null`, `true`, `[]`, `{}`, `{"order_lines":[{"quantity":3}]}`, `[ {"a" : [1.0,{"a":1,"a":2}]} ]`,
	}))
	quantities = rapid.SampledFrom([]string{"1", "2", "3.0", "7", "12e0", "0.5", "1.50"})
)

// randomObject writes members with distinct names, and spaces between.
func randomObject(t *rapid.T, members ...string) string {
	for i := range rapid.IntRange(0, 4).Draw(t, "more") {
		value := values
		if i == 0 {
			value = numbers // rules look at m0, and refuse text that is none
		}
		members = append(members, fmt.Sprintf(`"m%d"%s:%s%s`, i, spaces.Draw(t, "space"), spaces.Draw(t, "space"), value.Draw(t, "value")))
	}
	members = rapid.Permutation(members).Draw(t, "members")
	return "{" + spaces.Draw(t, "space") + strings.Join(members, spaces.Draw(t, "space")+","+spaces.Draw(t, "space")) + spaces.Draw(t, "space") + "}"
}

func randomOrder(t *rapid.T) string {
	lines := make([]string, rapid.IntRange(0, 4).Draw(t, "lines"))
	for i := range lines {
		members := []string{`"total":` + rapid.SampledFrom([]string{"10.00", "0.01", "7"}).Draw(t, "total"), `"parts":[1,{"b":2.0}]`, `"type":` + texts.Draw(t, "type")}
		if rapid.Bool().Draw(t, "with a quantity") {
			members = append(members, `"quantity" :`+quantities.Draw(t, "quantity"))
		}
		lines[i] = randomObject(t, members...)
	}
	list := "[" + strings.Join(lines, spaces.Draw(t, "space")+",") + spaces.Draw(t, "space") + "]"
	return spaces.Draw(t, "space") + randomObject(t, `"orderId":"A-\u0031"`, `"order_lines":`+list) + spaces.Draw(t, "space")
}

func randomConfig(t *rapid.T) Config {
	r := rapid.SampledFrom([]SplitRule{
		{PerUnit: true},
		{Batch: 2},
		{Batch: 5},
		{WholeLine: true},
		{Components: "/parts"},
		{PerUnit: true, SplitAmounts: []string{"/total"}},
		{Batch: 2, SplitAmounts: []string{"/total"}},
	}).Draw(t, "rule")
	r.When = rapid.SampledFrom([]string{`true`, `line.m0 == nil`, `line.quantity != nil and line.quantity > 1`}).Draw(t, "when")
	return Config{
		Split: Split{Rules: []SplitRule{r}, Otherwise: rapid.SampledFrom([]string{WholeLine, PerUnit}).Draw(t, "otherwise")},
		Stages: rapid.SampledFrom([]Stages{
			{},
			{Default: []string{"pick"}},
			{Rules: []StageRule{{When: `line.job_no == 1`, Stages: []string{"first"}}}, Default: []string{"pick"}},
			{Rules: []StageRule{{When: `line.m0 == nil`, Stages: []string{"none"}}}, Default: []string{"pick"}, Overwrite: true},
		}).Draw(t, "stages"),
		StageItems: rapid.SampledFrom([]string{AsString, AsObject}).Draw(t, "items"),
	}
}

func TestProperties(t *testing.T) {
	t.Parallel()
	t.Run("0-D37 all but order_lines is byte-identical", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			c, order := randomConfig(t), randomOrder(t)
			requireSplice(t, order, prepared(t, c, order))
		})
	})
	t.Run("0-D11 each step done twice is done once", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			p, order := newPreparer(t, randomConfig(t)), []byte(randomOrder(t))
			for _, step := range []func([]byte) ([]byte, error){p.Normalise, p.Prepare} {
				once, err := step(order)
				require.NoError(t, err)
				twice, err := step(once)
				require.NoError(t, err)
				require.Equal(t, string(once), string(twice))
			}
		})
	})
	t.Run("0-21 preparing is normalising, then adding stages", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			p, order := newPreparer(t, randomConfig(t)), []byte(randomOrder(t))
			whole, err := p.Prepare(order)
			require.NoError(t, err)
			normal, err := p.Normalise(order)
			require.NoError(t, err)
			parts, err := p.AddStages(normal)
			require.NoError(t, err)
			require.Equal(t, string(whole), string(parts))
		})
	})
	t.Run("0-D26 two preparers of one config agree", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			c, order := randomConfig(t), randomOrder(t)
			first, again := prepared(t, c, order), prepared(t, c, order)
			require.Equal(t, first, again)
		})
	})
	t.Run("0-D02 the quantities of a line's jobs add up exactly", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			quantity := quantities.Draw(t, "quantity")
			k := rapid.Int64Range(1, 8).Draw(t, "batch")
			r := rapid.SampledFrom([]SplitRule{{PerUnit: true}, {WholeLine: true}, {Batch: k}}).Draw(t, "rule")
			require.True(t, equal(t, quantity, total(t, jobs(t, splitBy(r), `{"quantity":`+quantity+`}`), "quantity")))
		})
	})
	t.Run("0-D10 the shares of an amount add up exactly", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			amount := apd.New(rapid.Int64().Draw(t, "amount"), rapid.Int32Range(-9, 0).Draw(t, "places")).Text('f')
			n := rapid.IntRange(1, 30).Draw(t, "quantity")
			r := rapid.SampledFrom([]SplitRule{{PerUnit: true}, {Batch: 4}}).Draw(t, "rule")
			r.SplitAmounts = []string{"/amount"}
			all := jobs(t, splitBy(r), fmt.Sprintf(`{"amount":%s,"quantity":%d}`, amount, n))
			require.True(t, equal(t, amount, total(t, all, "amount")))
		})
	})
	t.Run("0-D37 every other member of a job is its line's, byte for byte", func(t *testing.T) {
		t.Parallel()
		rapid.Check(t, func(t *rapid.T) {
			c := perUnit
			c.Quantity = []string{"/pieces"}
			before := `"pieces":`
			line := randomObject(t, before+`3`)
			at := strings.Index(line, before) + len(before)
			start := line[:at] + "1" + line[at+1:]
			start = strings.TrimRight(start, " \n\t}") // to the end of the last value
			out := prepared(t, c, `{"id":7,"order_lines":[`+line+`]}`)
			require.Equal(t, 3, strings.Count(out, start), out)
		})
	})
}

// total adds a member of all jobs.
func total(t require.TestingT, jobs []any, name string) rule.Decimal {
	var sum rule.Decimal
	for _, job := range jobs {
		var err error
		sum, err = sum.Add(job.(map[string]any)[name].(rule.Decimal))
		require.NoError(t, err)
	}
	return sum
}

func equal(t require.TestingT, text string, number rule.Decimal) bool {
	want, err := rule.ParseDecimal(text)
	require.NoError(t, err)
	order, err := want.Cmp(number)
	require.NoError(t, err)
	return order == 0
}
