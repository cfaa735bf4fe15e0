package prepare

import (
	"fmt"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
)

// splitBy is a configuration with one rule for all lines.
func splitBy(r SplitRule) Config {
	r.When = "true"
	return Config{Split: Split{Rules: []SplitRule{r}}}
}

var perUnit = splitBy(SplitRule{PerUnit: true})

func TestSplit(t *testing.T) {
	t.Parallel()
	t.Run("0-D01 per_unit makes n jobs of quantity 1", func(t *testing.T) {
		t.Parallel()
		for _, n := range []int{1, 2, 5, 12} {
			all := jobs(t, perUnit, fmt.Sprintf(`{"quantity":%d}`, n))
			require.Len(t, all, n)
			require.Equal(t, slices.Repeat([]string{"1"}, n), member(all, "quantity"))
			require.Equal(t, slices.Repeat([]string{fmt.Sprint(n)}, n), member(all, "job_count"))
			require.Equal(t, slices.Repeat([]string{fmt.Sprint(n)}, n), member(all, "source_quantity"))
			require.Equal(t, slices.Repeat([]string{"1"}, n), member(all, "line_no"))
			require.Equal(t, fmt.Sprintf(`"7-1-%d"`, n), member(all, "job_id")[n-1])
			require.Equal(t, fmt.Sprint(n), member(all, "job_no")[n-1])
		}
	})
	t.Run("0-D01 otherwise: per_unit does so without a rule", func(t *testing.T) {
		t.Parallel()
		require.Len(t, jobs(t, Config{Split: Split{Otherwise: PerUnit}}, `{"qty":3}`), 3)
	})
	for _, c := range []struct {
		batch    int64
		quantity string
		want     []string
	}{
		{3, "7", []string{"3", "3", "1"}},
		{3, "6.0", []string{"3", "3"}},
		{3, "3", []string{"3"}},
		{3, "2.00", []string{"2.00"}},
		{1, "2", []string{"1", "1"}},
		{999_999_999_999, "1e12", []string{"999999999999", "1"}},
	} {
		t.Run(fmt.Sprintf("0-D02 batch %d of %s", c.batch, c.quantity), func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, member(jobs(t, splitBy(SplitRule{Batch: c.batch}), `{"quantity":`+c.quantity+`}`), "quantity"))
		})
	}
	t.Run("0-D03 whole_line makes one job and leaves the quantity's bytes", func(t *testing.T) {
		t.Parallel()
		for _, c := range []Config{splitBy(SplitRule{WholeLine: true}), {Stages: Stages{Default: []string{"pick"}}}} {
			for _, quantity := range []string{"12", "2.0", "2e0", "1000000000", "1E400", "1.50"} {
				all := jobs(t, c, `{"quantity":`+quantity+`}`)
				require.Equal(t, []string{quantity}, member(all, "quantity"))
				require.Equal(t, []string{quantity}, member(all, "source_quantity"))
				require.Equal(t, []string{"1"}, member(all, "job_count"))
			}
		}
	})
	t.Run("0-D04 a missing quantity is not invented", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, `{"id":7,"order_lines":[{"sku":"F","job_id":"7-1-1","line_no":1,"job_no":1,"job_count":1}]}`,
			prepared(t, perUnit, `{"id":7,"order_lines":[{"sku":"F"}]}`))
		require.Equal(t, `{"id":7,"order_lines":[{"job_id":"7-1-1","line_no":1,"job_no":1,"job_count":1 }]}`, prepared(t, perUnit, `{"id":7,"order_lines":[{ }]}`))
		require.Len(t, jobs(t, perUnit, `{}`), 1)
	})
	t.Run("0-D05 a fractional quantity makes one job, bytes untouched", func(t *testing.T) {
		t.Parallel()
		for _, c := range []Config{perUnit, splitBy(SplitRule{Batch: 2})} {
			for _, quantity := range []string{"1.5", "0.5", "15e-1", "1e-400", "2.0000000000000000000000001"} {
				require.Equal(t, []string{quantity}, member(jobs(t, c, `{"quantity":`+quantity+`}`), "quantity"))
			}
		}
	})
	t.Run("0-D05 2, 2.0 and 2e0 are the integer 2", func(t *testing.T) {
		t.Parallel()
		for _, quantity := range []string{"2", "2.0", "2e0", "2.00e+0", "0.2e1", "20e-1", "0.0002E4"} {
			all := jobs(t, perUnit, `{"quantity":`+quantity+`}`)
			require.Equal(t, []string{"1", "1"}, member(all, "quantity"), quantity)
			require.Equal(t, []string{quantity, quantity}, member(all, "source_quantity"))
		}
	})
	keep := perUnit
	keep.OnBadQuantity = Keep
	for _, quantity := range []string{"0", "0.0", "-0", "0e5", "-1", "-2.5", `"2"`, "null", "true", "{}", "[2]"} {
		t.Run("0-D06 the quantity "+quantity+" fails", func(t *testing.T) {
			t.Parallel()
			for _, c := range []Config{perUnit, splitBy(SplitRule{WholeLine: true})} {
				require.Contains(t, refused(t, c, `{"id":7,"order_lines":[{"quantity":1},{"quantity":`+quantity+`}]}`), "order line 2: the quantity "+quantity)
			}
		})
		t.Run("0-D06 the quantity "+quantity+" is kept if so configured", func(t *testing.T) {
			t.Parallel()
			require.Equal(t, []string{quantity}, member(jobs(t, keep, `{"quantity":`+quantity+`}`), "quantity"))
		})
	}
	t.Run("0-D09 jobs keep the order of lines, and their order in a line", func(t *testing.T) {
		t.Parallel()
		out := prepared(t, perUnit, `{"id":"X","order_lines":[{"quantity":2},{"quantity":1},{"quantity":3}]}`)
		require.Equal(t, []string{`"X-1-1"`, `"X-1-2"`, `"X-2-1"`, `"X-3-1"`, `"X-3-2"`, `"X-3-3"`}, member(jobsOf(t, out), "job_id"))
	})
	t.Run("0-24 the first rule that holds decides", func(t *testing.T) {
		t.Parallel()
		c := Config{Split: Split{Otherwise: PerUnit, Rules: []SplitRule{
			{When: `line.sku startsWith "L" and order.channel == "shop"`, WholeLine: true},
			{When: `line.quantity > 2.5`, Batch: 2},
			{When: `line.sku startsWith "L"`, Batch: 3},
		}}}
		out := prepared(t, c, `{"id":1,"channel":"web","order_lines":[{"sku":"L","quantity":3},{"sku":"L","quantity":2},{"sku":"X","quantity":2}]}`)
		require.Equal(t, []string{"2", "1", "2", "1", "1"}, member(jobsOf(t, out), "quantity"))
	})
	t.Run("0-D20 a rule that cannot be evaluated is permanent and names rule and line", func(t *testing.T) {
		t.Parallel()
		c := Config{Split: Split{Rules: []SplitRule{{When: `false`, PerUnit: true}, {When: `line.weight > 1`, PerUnit: true}}}}
		message := refused(t, c, `{"id":1,"order_lines":[{"weight":1},{"sku":"F"}]}`)
		require.Contains(t, message, "order line 2: split.rules[1]: ")
		require.Contains(t, message, "cannot compare nil with 1")
	})
}

func TestSplit_Components(t *testing.T) {
	t.Parallel()
	c := splitBy(SplitRule{Components: "/kit/parts"})
	t.Run("0-D08 a job for each component of each unit, in the order of components", func(t *testing.T) {
		t.Parallel()
		all := jobs(t, c, `{"sku":"KIT","quantity":2,"kit":{"parts":[{"sku":"A"}, {"sku" : "B"},"c"]}}`)
		require.Equal(t, []string{`{"sku":"A"}`, `{"sku":"A"}`, `{"sku":"B"}`, `{"sku":"B"}`, `"c"`, `"c"`}, member(all, "component"))
		require.Equal(t, slices.Repeat([]string{"1"}, 6), member(all, "quantity"))
		require.Equal(t, slices.Repeat([]string{"6"}, 6), member(all, "job_count"))
		require.Equal(t, slices.Repeat([]string{`"KIT"`}, 6), member(all, "sku"))
	})
	t.Run("0-D08 without a whole quantity a job for each component", func(t *testing.T) {
		t.Parallel()
		for _, quantity := range []string{``, `"quantity":1.5,`} {
			require.Equal(t, []string{"1", "2"}, member(jobs(t, c, `{`+quantity+`"kit":{"parts":[1,2]}}`), "component"))
		}
	})
	t.Run("0-D08 a line without components fails rather than vanishes", func(t *testing.T) {
		t.Parallel()
		for _, line := range []string{`{}`, `{"kit":{"parts":{}}}`, `{"kit":{"parts":[]}}`} {
			require.Contains(t, refused(t, c, `{"id":1,"order_lines":[`+line+`]}`), "order line 1: split.rules[0]: ")
		}
	})
}

func TestSplit_Amounts(t *testing.T) {
	t.Parallel()
	line := `{"quantity":3,"total":10.00,"tax":{"amount":0.05},"price":3.33}`
	t.Run("0-D10 amounts are copied", func(t *testing.T) {
		t.Parallel()
		all := jobs(t, perUnit, line)
		require.Equal(t, []string{"10.00", "10.00", "10.00"}, member(all, "total"))
		require.Equal(t, []string{"3.33", "3.33", "3.33"}, member(all, "price"))
	})
	for _, c := range []struct {
		rule SplitRule
		line string
		want []string
	}{
		{SplitRule{PerUnit: true}, line, []string{"3.33", "3.33", "3.34"}},
		{SplitRule{PerUnit: true}, `{"quantity":3,"total":-10.00}`, []string{"-3.33", "-3.33", "-3.34"}},
		{SplitRule{PerUnit: true}, `{"quantity":3,"total":0.01}`, []string{"0.00", "0.00", "0.01"}},
		{SplitRule{PerUnit: true}, `{"quantity":3,"total":10}`, []string{"3", "3", "4"}},
		{SplitRule{PerUnit: true}, `{"quantity":4,"total":1e1}`, []string{"2", "2", "2", "4"}},
		{SplitRule{PerUnit: true}, `{"quantity":2,"total":12345678901234567890.01}`, []string{"6172839450617283945.00", "6172839450617283945.01"}},
		{SplitRule{Batch: 2}, `{"quantity":5,"total":10.00}`, []string{"4.00", "4.00", "2.00"}},
		{SplitRule{Batch: 2}, `{"quantity":3,"total":10.00}`, []string{"6.66", "3.34"}},
		{SplitRule{Components: "/parts"}, `{"parts":[1,2,3],"total":1.00}`, []string{"0.33", "0.33", "0.34"}},
		{SplitRule{WholeLine: true}, line, []string{"10.00"}},
		{SplitRule{PerUnit: true}, `{"quantity":2}`, []string{"missing", "missing"}},
	} {
		t.Run("0-D10 split_amounts divides exactly, the remainder on the last job: "+c.line, func(t *testing.T) {
			t.Parallel()
			c.rule.SplitAmounts = []string{"/total", "/tax/amount"}
			require.Equal(t, c.want, member(jobs(t, splitBy(c.rule), c.line), "total"))
		})
	}
	t.Run("0-D10 nested amounts, in any order of members", func(t *testing.T) {
		t.Parallel()
		c := splitBy(SplitRule{PerUnit: true, SplitAmounts: []string{"/total", "/tax/amount"}})
		all := jobs(t, c, `{"tax":{"amount":0.05},"quantity":2,"total":1}`)
		require.Equal(t, []string{`{"amount":0.02}`, `{"amount":0.03}`}, member(all, "tax"))
		require.Equal(t, []string{"0", "1"}, member(all, "total"))
	})
	t.Run("0-D10 an amount that is no number fails", func(t *testing.T) {
		t.Parallel()
		c := splitBy(SplitRule{PerUnit: true, SplitAmounts: []string{"/total"}})
		for _, total := range []string{`"1.00"`, `null`, `1e9999`} {
			require.Contains(t, refused(t, c, `{"id":1,"order_lines":[{"quantity":2,"total":`+total+`}]}`), "order line 1: split.rules[0]: amount /total: ")
		}
	})
}

func TestSplit_Marked(t *testing.T) {
	t.Parallel()
	t.Run("0-D11 normalising twice is normalising once", func(t *testing.T) {
		t.Parallel()
		p := newPreparer(t, splitBy(SplitRule{Components: "/parts"}))
		once, err := p.Normalise([]byte(`{"id":1,"order_lines":[ {"quantity":2,"parts":[1,2]} ,{"parts":[3]} ]}`))
		require.NoError(t, err)
		twice, err := p.Normalise(once)
		require.NoError(t, err)
		require.Equal(t, string(once), string(twice))
		require.Len(t, jobsOf(t, string(twice)), 5)
	})
	t.Run("0-D11 a job passes through whatever its quantity is", func(t *testing.T) {
		t.Parallel()
		order := `{"order_lines":[{"job_id":"x","job_count":1,"quantity":1000000000}]}`
		require.Equal(t, order, prepared(t, perUnit, order))
	})
}

func TestSplit_Collision(t *testing.T) {
	t.Parallel()
	line := `{"line_no":"ten","quantity":2,"component":"mine"}`
	t.Run("0-D12 a foreign member of our name fails", func(t *testing.T) {
		t.Parallel()
		for _, name := range []string{"job_id", "line_no", "job_no", "job_count", "source_quantity"} {
			require.Contains(t, refused(t, perUnit, `{"id":1,"order_lines":[{"`+name+`":1}]}`), `order line 1: has the member "`+name+`"`)
		}
		require.Contains(t, refused(t, splitBy(SplitRule{Components: "/parts"}), `{"id":1,"order_lines":[{"component":1,"parts":[1]}]}`), `"component"`)
	})
	t.Run("0-D12 collision: keep keeps it", func(t *testing.T) {
		t.Parallel()
		c := perUnit
		c.Collision = Keep
		all := jobs(t, c, line)
		require.Equal(t, []string{`"ten"`, `"ten"`}, member(all, "line_no"))
		require.Equal(t, []string{`"7-1-1"`, `"7-1-2"`}, member(all, "job_id"))
		require.Equal(t, []string{`"mine"`, `"mine"`}, member(all, "component"))
	})
	t.Run("0-D12 collision: overwrite replaces it in its place", func(t *testing.T) {
		t.Parallel()
		c := perUnit
		c.Collision = Overwrite
		require.Equal(t, `{"id":7,"order_lines":[`+
			`{"line_no":1,"quantity":1,"component":"mine","job_id":"7-1-1","job_no":1,"job_count":2,"source_quantity":2},`+
			`{"line_no":1,"quantity":1,"component":"mine","job_id":"7-1-2","job_no":2,"job_count":2,"source_quantity":2}]}`,
			prepared(t, c, `{"id":7,"order_lines":[`+line+`]}`))
	})
	t.Run("0-D12 a job id that nobody counted is foreign", func(t *testing.T) {
		t.Parallel()
		c := perUnit
		c.Collision = Overwrite
		require.Equal(t, []string{`"7-1-1"`}, member(jobs(t, c, `{"job_id":null}`), "job_id"))
	})
}

func TestJobID(t *testing.T) {
	t.Parallel()
	for order, want := range map[string]string{
		`{"orderId":"A\u00e9\"","order_lines":[{}]}`:               `"Aé\"-1-1"`,
		`{"id":12.50,"order_lines":[{}]}`:                          `"12.50-1-1"`,
		`{"order_lines":[{}],"order_id":"late"}`:                   `"late-1-1"`,
		`{"id":"second","orderId":"first","order_lines":[{}]}`:     `"first-1-1"`,
		`{"orderId":null,"orderid":"","id":-3,"order_lines":[{}]}`: `"-3-1-1"`,
	} {
		t.Run("0-D01 the job id is <order>-<line>-<job>: "+want, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, []string{want}, member(jobsOf(t, prepared(t, perUnit, order)), "job_id"))
		})
	}
	t.Run("0-D01 a nested id", func(t *testing.T) {
		t.Parallel()
		c := perUnit
		c.OrderID = []string{"/meta/id", "/id"}
		require.Equal(t, []string{`"M-1-1"`}, member(jobsOf(t, prepared(t, c, `{"id":1,"order_lines":[{}],"meta":{"id":"M"}}`)), "job_id"))
	})
	t.Run("0-D01 an order without an id fails", func(t *testing.T) {
		t.Parallel()
		for _, id := range []string{``, `"id":null,`, `"id":"",`, `"id":{},`, `"id":true,`} {
			require.Contains(t, refused(t, perUnit, `{`+id+`"order_lines":[{}]}`), "the order has no id")
		}
	})
}
