package prepare

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// staged is a configuration with stages alone.
func staged(s Stages) Config { return Config{Stages: s} }

func TestStages(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ sort, when, yes, no string }{
		{"equals", `line.type == "lens"`, `{"type":"lens"}`, `{"type":"Lens"}`},
		{"one of", `line.type in ["lens", "glass"]`, `{"type":"glass"}`, `{"type":"frame"}`},
		{"prefix", `line.sku startsWith "L"`, `{"sku":"L-1"}`, `{"sku":"XL"}`},
		{"exists", `line.frame != nil`, `{"frame":{}}`, `{"frame":null}`},
		{"a number", `line.quantity >= 2.50`, `{"quantity":2.5}`, `{"quantity":2.49}`},
		{"the order", `order.id == 7.0 and line.rush`, `{"rush":true}`, `{"rush":false}`},
	} {
		t.Run("0-D20 the first rule that matches sets the stages, else the default: "+c.sort, func(t *testing.T) {
			t.Parallel()
			config := staged(Stages{
				Rules:   []StageRule{{When: c.when, Stages: []string{"first"}}, {When: c.when, Stages: []string{"never"}}},
				Default: []string{"pick", "pack"},
			})
			require.Equal(t, []string{`["first"]`}, member(jobs(t, config, c.yes), "completion_stages"))
			require.Equal(t, []string{`["pick","pack"]`}, member(jobs(t, config, c.no), "completion_stages"))
		})
	}
	t.Run("0-D20 stages can be objects", func(t *testing.T) {
		t.Parallel()
		c := staged(Stages{Default: []string{`a "b"`, "c"}})
		c.StageItems = AsObject
		require.Equal(t, []string{`[{"name":"a \"b\"","status":"pending"},{"name":"c","status":"pending"}]`}, member(jobs(t, c, `{}`), "completion_stages"))
	})
	t.Run("0-D21 without a match and a default the job and the order are named", func(t *testing.T) {
		t.Parallel()
		c := staged(Stages{Rules: []StageRule{{When: `line.type == "lens"`, Stages: []string{"coat"}}}})
		c.Split.Otherwise = PerUnit
		message := refused(t, c, `{"order_lines":[{"type":"lens"},{"quantity":3}],"orderId":"A1"}`)
		require.Contains(t, message, `order line 2, job 1 of order "A1": no rule of stages holds`)
	})
	t.Run("0-D21 a rule that cannot be evaluated names job and rule", func(t *testing.T) {
		t.Parallel()
		c := staged(Stages{Rules: []StageRule{{When: `line.job_no < 2`, Stages: []string{"coat"}}, {When: `line.x > 1`, Stages: []string{"coat"}}}})
		c.Split.Otherwise = PerUnit
		require.Contains(t, refused(t, c, `{"orderId":"A1","order_lines":[{"quantity":3}]}`), `order line 1, job 2 of order "A1": stages.rules[1]: `)
	})
	pick := Stages{Default: []string{"pick"}}
	t.Run("0-D23 the producer's stages are kept", func(t *testing.T) {
		t.Parallel()
		for _, stages := range []string{`["own"]`, `[ "own", {"name":"x"} ]`, `[7]`} {
			out := prepared(t, staged(pick), `{"id":7,"order_lines":[{"completion_stages":`+stages+`}]}`)
			require.Contains(t, out, `{"completion_stages":`+stages+`,"job_id"`)
		}
	})
	t.Run("0-D23 empty stages are none", func(t *testing.T) {
		t.Parallel()
		for _, stages := range []string{`[]`, `[ ]`, `null`} {
			require.Equal(t, []string{`["pick"]`}, member(jobs(t, staged(pick), `{"completion_stages":`+stages+`,"x":1}`), "completion_stages"))
		}
	})
	t.Run("0-D23 overwrite replaces them", func(t *testing.T) {
		t.Parallel()
		c := staged(Stages{Default: []string{"pick"}, Overwrite: true})
		out := prepared(t, c, `{"id":7,"order_lines":[{"completion_stages":["own"],"x":1}]}`)
		require.Equal(t, `{"id":7,"order_lines":[{"completion_stages":["pick"],"x":1,"job_id":"7-1-1","line_no":1,"job_no":1,"job_count":1}]}`, out)
		require.Equal(t, out, prepared(t, c, out))
	})
	t.Run("0-D23 a job that came as one gets stages if it has none", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, `{"order_lines":[{"job_id":"x","job_count":1,"completion_stages":["pick"]}]}`,
			prepared(t, staged(pick), `{"order_lines":[{"job_id":"x","job_count":1}]}`))
	})
	for collision, want := range map[string]string{Keep: `"done"`, Overwrite: `["pick"]`} {
		t.Run("0-D12 completion_stages that is no list, collision: "+collision, func(t *testing.T) {
			t.Parallel()
			c := staged(pick)
			require.Contains(t, refused(t, c, `{"id":7,"order_lines":[{"completion_stages":"done"}]}`), "order line 1: completion_stages is not an array")
			c.Collision = collision
			require.Equal(t, []string{want}, member(jobs(t, c, `{"completion_stages":"done"}`), "completion_stages"))
		})
	}
	t.Run("0-25 no stages are set where none are configured", func(t *testing.T) {
		t.Parallel()
		require.Equal(t, []string{"missing"}, member(jobs(t, perUnit, `{}`), "completion_stages"))
	})
}

// A stage rule that looks at what splitting does not change runs once a line.
// It must give what it would give for each job.
func TestStages_OnceALineIsAsGoodAsForEachJob(t *testing.T) {
	t.Parallel()
	for when, once := range map[string]bool{
		`line.type == "lens"`:                       true,
		`line.type == "lens" and order.id == 7`:     true,
		`line["type"] in ["lens"]`:                  true,
		`line.quantity == 1`:                        false,
		`line.qty == 1`:                             false,
		`line.total == 5`:                           false,
		`line.job_no == 1`:                          false,
		`"type" in line`:                            false,
		`len(keys(line)) > 0 and line.type != "x"`:  false,
		`get(line, "quantity") == 1`:                false,
		`all([1], line.type == "lens" and # == 1)`:  true,
		`let l = line; l.quantity == 1 and l.total`: false,
	} {
		c := splitBy(SplitRule{PerUnit: true, SplitAmounts: []string{"/total"}})
		c.Stages = Stages{Rules: []StageRule{{When: when, Stages: []string{"yes"}}}, Default: []string{"no"}}
		p := newPreparer(t, c)
		require.Equal(t, once, p.stagesOfLine, when)
		if !once {
			continue
		}
		slow := newPreparer(t, c)
		slow.stagesOfLine = false
		order := []byte(`{"id":7,"order_lines":[{"type":"lens","quantity":2,"total":10},{"type":"x"}]}`)
		want, err := slow.Prepare(order)
		require.NoError(t, err)
		got, err := p.Prepare(order)
		require.NoError(t, err)
		require.Equal(t, string(want), string(got), when)
	}
}
