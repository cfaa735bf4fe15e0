package prepare

import (
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// fuzzConfigs cover each action, each policy, and both ways to stages.
var fuzzConfigs = []Config{
	{},
	sample(),
	{Split: Split{Otherwise: PerUnit}, Quantity: []string{"/a/quantity", "/quantity", "/0"}, OnBadQuantity: Keep, Collision: Keep, MaxJobs: 50},
	{
		Split:   Split{Rules: []SplitRule{{When: `true`, Batch: 2, SplitAmounts: []string{"/total", "/tax/amount"}}}},
		Stages:  Stages{Rules: []StageRule{{When: `line.quantity == 1`, Stages: []string{"one"}}}, Default: []string{"many"}, Overwrite: true},
		Lenient: true, Collision: Overwrite, StageItems: AsObject, MaxJobs: 50, MaxDepth: 8,
	},
	{
		Split:        Split{Rules: []SplitRule{{When: `line.parts != nil and len(order) > 1`, Components: "/parts", SplitAmounts: []string{"/total"}}}},
		WithoutLines: Pass, OrderID: []string{"/meta/id", "/orderId"}, MaxJobs: 50,
	},
}

func FuzzPrepare(f *testing.F) {
	for _, order := range []string{
		frameOrder, frameJobs, kilobyte, `{"order_lines":[]}`, `{"orderId":1,"order_lines":[{"quantity":3,"total":10.00,"tax":{"amount":0.05}}]}`,
		`{"orderId":1,"order_lines":[{"parts":[1,{"a":2}],"total":1.00,"quantity":2}, {}]}`, `{"order\u005flines":[{"job_id":1,"completion_stages":[]}],"orderId":"x"}`,
		`{"orderId":"\ud800","order_lines":[{"line_no":7,"quantity":"2"}]}`, `{"order_lines":[{"quantity":1e9}],"orderId":1}`, `{"order_lines":[1`,
	} {
		for i := range fuzzConfigs {
			f.Add([]byte(order), i)
		}
	}
	f.Fuzz(func(t *testing.T, order []byte, config int) {
		p := newPreparer(t, fuzzConfigs[uint(config)%uint(len(fuzzConfigs))])
		in := string(order)
		out, err := p.Prepare(order)
		require.Equal(t, in, string(order), "the input was written to")
		if err != nil {
			require.True(t, pipeline.IsPermanent(err), err)
			return
		}
		require.True(t, jsontext.Value(out).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)), "%s", out)
		requireSplice(t, in, string(out))
		again, err := p.Prepare(out)
		require.NoError(t, err, "%s", out)
		require.Equal(t, string(out), string(again))
	})
}
