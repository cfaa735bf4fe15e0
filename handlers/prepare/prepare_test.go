package prepare

import (
	"strings"
	"sync"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
)

// sample is a configuration that uses both steps.
func sample() Config {
	return Config{
		Split: Split{Rules: []SplitRule{{When: `line.type == "frame"`, PerUnit: true}}},
		Stages: Stages{
			Rules:   []StageRule{{When: `line.type == "lens"`, Stages: []string{"surface", "coat"}}},
			Default: []string{"pick", "pack"},
		},
	}
}

const (
	frameOrder = `{"orderId":"A1", "order_lines":[{"sku":"F","type":"frame","quantity":2}, {"sku":"L","type":"lens","quantity":2}],"total":2960.10}`

	frameJobs = `{"orderId":"A1", "order_lines":[` +
		`{"sku":"F","type":"frame","quantity":1,"job_id":"A1-1-1","line_no":1,"job_no":1,"job_count":2,"source_quantity":2,"completion_stages":["pick","pack"]},` +
		`{"sku":"F","type":"frame","quantity":1,"job_id":"A1-1-2","line_no":1,"job_no":2,"job_count":2,"source_quantity":2,"completion_stages":["pick","pack"]}, ` +
		`{"sku":"L","type":"lens","quantity":2,"job_id":"A1-2-1","line_no":2,"job_no":1,"job_count":1,"source_quantity":2,"completion_stages":["surface","coat"]}` +
		`],"total":2960.10}`
)

func newPreparer(t require.TestingT, c Config) *Preparer {
	p, err := New(c)
	require.NoError(t, err)
	return p
}

// prepared returns what becomes of an order, which itself must stay as it is.
func prepared(t require.TestingT, c Config, order string) string {
	in := []byte(order)
	out, err := newPreparer(t, c).Prepare(in)
	require.NoError(t, err)
	require.Equal(t, order, string(in), "the input was written to")
	require.True(t, jsontext.Value(out).IsValid(jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true)), "%s", out)
	return string(out)
}

// refused returns the error for an order, which must be permanent.
func refused(t require.TestingT, c Config, order string) string {
	in := []byte(order)
	out, err := newPreparer(t, c).Prepare(in)
	require.Error(t, err)
	require.Nil(t, out)
	require.True(t, pipeline.IsPermanent(err), err)
	require.Equal(t, pipeline.ReasonInvalid, pipeline.ReasonOf(err))
	require.Equal(t, order, string(in), "the input was written to")
	return err.Error()
}

// jobs returns the jobs of an order that has one line, the given one.
func jobs(t require.TestingT, c Config, line string) []any {
	return jobsOf(t, prepared(t, c, `{"id":7,"order_lines":[`+line+`]}`))
}

func jobsOf(t require.TestingT, order string) []any {
	tree, err := rule.Decode([]byte(order))
	require.NoError(t, err)
	return tree.(map[string]any)["order_lines"].([]any)
}

// member lists a member of every job, as text.
func member(jobs []any, name string) []string {
	texts := make([]string, len(jobs))
	for i, job := range jobs {
		value, ok := job.(map[string]any)[name]
		if !ok {
			texts[i] = "missing"
			continue
		}
		text, _ := rule.Encode(value)
		texts[i] = string(text)
	}
	return texts
}

func TestPrepare(t *testing.T) {
	t.Parallel()
	t.Run("0-20 lines are split into jobs and all jobs have their stages", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, frameJobs, prepared(t, sample(), frameOrder))
	})
	t.Run("0-21 stages are chosen for the jobs that normalising made", func(t *testing.T) {
		t.Parallel()
		c := sample()
		c.Stages.Rules = []StageRule{{When: `line.quantity == 1 and line.job_count == 2`, Stages: []string{"single"}}}
		require.Equal(t, []string{`["single"]`, `["single"]`, `["pick","pack"]`}, member(jobsOf(t, prepared(t, c, frameOrder)), "completion_stages"))
		c.Stages.Rules = []StageRule{{When: `line.job_no == 2 and line.job_id == "A1-1-2"`, Stages: []string{"second"}}}
		require.Equal(t, []string{`["pick","pack"]`, `["second"]`, `["pick","pack"]`}, member(jobsOf(t, prepared(t, c, frameOrder)), "completion_stages"))
	})
	t.Run("0-24 Normalise alone gives jobs that AddStages accepts", func(t *testing.T) {
		t.Parallel()
		p := newPreparer(t, sample())
		normal, err := p.Normalise([]byte(frameOrder))
		require.NoError(t, err)
		require.Equal(t, []string{`"A1-1-1"`, `"A1-1-2"`, `"A1-2-1"`}, member(jobsOf(t, string(normal)), "job_id"))
		require.Equal(t, []string{"missing", "missing", "missing"}, member(jobsOf(t, string(normal)), "completion_stages"))
		out, err := p.AddStages(normal)
		require.NoError(t, err)
		require.Equal(t, frameJobs, string(out))
	})
	t.Run("0-25 AddStages alone sets stages on all lines", func(t *testing.T) {
		t.Parallel()
		out, err := newPreparer(t, sample()).AddStages([]byte(frameOrder))
		require.NoError(t, err)
		require.Equal(t, `{"orderId":"A1", "order_lines":[{"sku":"F","type":"frame","quantity":2,"completion_stages":["pick","pack"]},`+
			` {"sku":"L","type":"lens","quantity":2,"completion_stages":["surface","coat"]}],"total":2960.10}`, string(out))
	})
	t.Run("0-28 preparing is pure: many at once, again and again, give the same", func(t *testing.T) {
		t.Parallel()
		p := newPreparer(t, sample())
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				for range 100 {
					out, err := p.Prepare([]byte(frameOrder))
					if err != nil || string(out) != frameJobs {
						t.Errorf("got %s, %v", out, err)
					}
				}
			})
		}
		group.Wait()
	})
	t.Run("0-D26 equal bytes in are equal bytes out", func(t *testing.T) {
		t.Parallel()
		first := prepared(t, sample(), frameOrder)
		again := prepared(t, sample(), frameOrder)
		require.Equal(t, first, again)
	})
}

// The steps of the original, each held to its promise on its own.
func TestSteps_TouchOrderLinesOnly(t *testing.T) {
	t.Parallel()
	p := newPreparer(t, sample())
	before, after := cutLines(t, frameOrder)
	for name, step := range map[string]func([]byte) ([]byte, error){
		"prepare_order": p.Prepare, "normalise_lines": p.Normalise, "add_completion_stages": p.AddStages,
	} {
		t.Run("0-22 "+name+" changes no attribute but order_lines", func(t *testing.T) {
			t.Parallel()
			out, err := step([]byte(frameOrder))
			require.NoError(t, err)
			require.NotEqual(t, frameOrder, string(out))
			require.True(t, strings.HasPrefix(string(out), before))
			require.True(t, strings.HasSuffix(string(out), after))
		})
		t.Run("0-23 "+name+" leaves every key but order_lines equal", func(t *testing.T) {
			t.Parallel()
			out, err := step([]byte(frameOrder))
			require.NoError(t, err)
			require.Equal(t, withoutLines(t, frameOrder), withoutLines(t, string(out)))
		})
	}
}

func withoutLines(t require.TestingT, order string) map[string]any {
	tree, err := rule.Decode([]byte(order))
	require.NoError(t, err)
	object := tree.(map[string]any)
	delete(object, "order_lines")
	return object
}

func TestPrepare_Identity(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{
		"nothing": {}, "defaults": *NewConfig(), "whole lines": {Split: Split{Otherwise: WholeLine}}, "guards": {MaxJobs: 1, Collision: Overwrite},
	} {
		for _, order := range []string{
			frameOrder, frameJobs, " {\"order_lines\" : [ {\"quantity\":0} ] }\r\n", `{}`, `{"order_lines":null}`, `{"order_lines":7}`, `{"order_lines":[1]}`, `{"x":"\ud800"}`,
		} {
			t.Run("0-26 identity configuration: "+name, func(t *testing.T) {
				t.Parallel()
				require.Equal(t, order, prepared(t, c, order))
			})
			t.Run("0-D36 white space and newlines stay: "+name, func(t *testing.T) {
				t.Parallel()
				require.Equal(t, order+"\n \t", prepared(t, c, order+"\n \t"))
			})
		}
		t.Run("0-D14 the identity configuration still wants a JSON object: "+name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, refused(t, c, `[{"order_lines":[]}]`), "not a JSON object")
			require.Contains(t, refused(t, c, `{"order_lines":[}`), "not valid JSON")
		})
	}
}

func TestPrepare_RefusesWhatIsNoOrder(t *testing.T) {
	t.Parallel()
	deep := strings.Repeat(`{"a":`, 64) + `1` + strings.Repeat(`}`, 64)
	for _, c := range []struct{ name, order, want string }{
		{"0-19 not JSON", `order`, "not a JSON object"},
		{"0-19 an empty body", ``, "not a JSON object"},
		{"0-19 an array", `[]`, "not a JSON object"},
		{"0-19 a string", `"order"`, "not a JSON object"},
		{"0-19 a number", `7`, "not a JSON object"},
		{"0-19 null", `null`, "not a JSON object"},
		{"0-19 not UTF-8", "{\"id\":\"\xff\",\"order_lines\":[]}", "UTF-8"},
		{"0-D35 a byte order mark", "\ufeff" + frameOrder, "not a JSON object"},
		{"0-D35 invalid UTF-8 in a line", `{"id":1,"order_lines":[{"a":"` + "\xc3" + `"}]}`, "UTF-8"},
		{"0-D35 NaN", `{"id":1,"x":NaN,"order_lines":[]}`, "not valid JSON"},
		{"0-D35 Infinity", `{"id":1,"order_lines":[{"quantity":Infinity}]}`, "not valid JSON"},
		{"0-D35 trailing garbage", frameOrder + `x`, "not valid JSON"},
		{"0-D35 a second order", frameOrder + frameOrder, "not valid JSON"},
		{"0-D35 truncated", frameOrder[:len(frameOrder)-1], "not valid JSON"},
		{"0-D35 truncated in a line", frameOrder[:60], "not valid JSON"},
		{"0-D35 a control character", "{\"id\":\"\n\"}", "not valid JSON"},
		{"0-D35 too deep", `{"id":1,"x":` + deep + `}`, "64 levels"},
		{"0-D35 too deep in a line", `{"id":1,"order_lines":[` + deep + `]}`, "64 levels"},
		{"0-D35 endlessly deep", strings.Repeat(`{"a":`, 1_000_000), "64 levels"},
		{"0-D34 order_lines twice", `{"order_lines":[],"id":1,"order_lines":[]}`, `"order_lines" twice`},
		{"0-D34 order_lines twice, once escaped", `{"order_lines":[],"id":1,"order\u005flines":[]}`, `twice`},
		{"0-D34 another name twice", `{"id":1,"order_lines":[],"id":2}`, `"id" twice`},
		{"0-D34 a name of a line twice", `{"id":1,"order_lines":[{"quantity":1,"quantity":2}]}`, "order line 1"},
		{"0-D14 no order_lines", `{"id":1}`, "no order_lines"},
		{"0-D14 null", `{"id":1,"order_lines":null}`, "not an array"},
		{"0-D14 an object", `{"id":1,"order_lines":{}}`, "not an array"},
		{"0-D14 a line that is no object", `{"id":1,"order_lines":[{},7]}`, "order line 2: not an object"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			require.Contains(t, refused(t, sample(), c.order), c.want)
		})
	}
	t.Run("0-D34 many members are compared all the same", func(t *testing.T) {
		t.Parallel()
		var order strings.Builder
		order.WriteString(`{"id":1`)
		for i := range 200 {
			order.WriteString(`,"m` + string(rune('a'+i%26)) + strings.Repeat("x", i/26) + `":1`)
		}
		prepared(t, sample(), order.String()+`,"order_lines":[]}`)
		require.Contains(t, refused(t, sample(), order.String()+`,"order_lines":[],"maxx":1}`), `"maxx" twice`)
	})
}

func TestPrepare_PassesOn(t *testing.T) {
	t.Parallel()
	pass, lenient := sample(), sample()
	pass.WithoutLines, lenient.Lenient = Pass, true
	t.Run("0-D14 without_lines: pass lets orders without lines through", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, ` {"orderid":1} `, prepared(t, pass, ` {"orderid":1} `))
		require.Contains(t, refused(t, pass, `{"id":1,"order_lines":null}`), "not an array")
		require.Contains(t, refused(t, pass, `{"id":1,"id":1}`), "twice")
	})
	t.Run("0-D14 lenient lets lines of any shape through", func(t *testing.T) {
		t.Parallel()
		for _, order := range []string{`{"id":1}`, `{"order_lines" : null}`, `{"order_lines":"x"}`, `{"order_lines":[{"quantity":3}, 7]} `} {
			require.Equal(t, order, prepared(t, lenient, order))
		}
	})
	t.Run("0-D34 lenient allows other names twice, order_lines never", func(t *testing.T) {
		t.Parallel()
		prepared(t, lenient, `{"id":1,"id":2,"order_lines":[{}]}`)
		require.Contains(t, refused(t, lenient, `{"order_lines":null,"order_lines":[]}`), "twice")
	})
	t.Run("0-D35 lenient does not mean broken", func(t *testing.T) {
		t.Parallel()
		require.Contains(t, refused(t, lenient, `{"order_lines":null,}`), "not valid JSON")
		require.Contains(t, refused(t, lenient, `{"order_lines":[1,{"a":01}]}`), "not valid JSON")
	})
	t.Run("0-D13 an empty array stays as it is", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, `{ "order_lines" : [ ] }`, prepared(t, sample(), `{ "order_lines" : [ ] }`))
	})
}
