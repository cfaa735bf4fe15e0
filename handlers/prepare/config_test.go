package prepare

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// faults returns the pointers that a config's faults blame.
func faults(t require.TestingT, c Config) []string {
	at := []string{}
	for _, err := range c.Validate() {
		var fault *pipeline.FieldError
		require.ErrorAs(t, err, &fault)
		require.NotEmpty(t, fault.Err.Error())
		at = append(at, fault.Pointer)
	}
	if len(at) > 0 {
		_, err := New(c)
		require.Error(t, err)
	}
	return at
}

func TestConfig_Validate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]Config{"zero": {}, "defaults": *NewConfig(), "sample": sample()} {
		t.Run("0-26 a good config: "+name, func(t *testing.T) {
			t.Parallel()
			require.Empty(t, faults(t, c))
		})
	}
	for name, list := range map[string]struct {
		stages []string
		at     string
	}{
		"an empty list":     {[]string{}, ""},
		"a blank name":      {[]string{"pick", " "}, "/1"},
		"an empty name":     {[]string{""}, "/0"},
		"a name twice":      {[]string{"pick", "pack", "pick"}, "/2"},
		"no list of a rule": {nil, ""},
	} {
		t.Run("0-D22 refuses "+name, func(t *testing.T) {
			t.Parallel()
			if list.stages != nil {
				require.Equal(t, []string{"/stages/default" + list.at}, faults(t, staged(Stages{Default: list.stages})))
			}
			c := staged(Stages{Rules: []StageRule{{When: "true", Stages: []string{"a"}}, {When: "true", Stages: list.stages}}})
			require.Equal(t, []string{"/stages/rules/1/stages" + list.at}, faults(t, c))
		})
	}
	for _, c := range []struct {
		name   string
		config Config
		want   []string
	}{
		{
			"words that are no choice",
			Config{WithoutLines: "x", OnBadQuantity: "x", Collision: "pass", StageItems: "x", Split: Split{Otherwise: "batch"}},
			[]string{"/without_lines", "/on_bad_quantity", "/collision", "/stage_items", "/split/otherwise"},
		},
		{"limits", Config{MaxJobs: -1, MaxOutput: -1, MaxDepth: 2000}, []string{"/max_jobs_per_order", "/max_output", "/max_depth"}},
		{"paths", Config{Quantity: []string{"quantity", ""}, OrderID: []string{"/a~2"}}, []string{"/quantity/0", "/quantity/1", "/order_id/0"}},
		{"paths of our own members", Config{Quantity: []string{"/job_no", "/job_nothing"}}, []string{"/quantity/0"}},
		{"a condition that does not compile", splitRules(SplitRule{When: `line.type = "x"`, PerUnit: true}), []string{"/split/rules/0/when"}},
		{"a condition that is none", splitRules(SplitRule{When: `"x"`, PerUnit: true}), []string{"/split/rules/0/when"}},
		{"an unknown name", splitRules(SplitRule{When: `lines.type == "x"`, PerUnit: true}), []string{"/split/rules/0/when"}},
		{"no condition", splitRules(SplitRule{PerUnit: true}), []string{"/split/rules/0/when"}},
		{"no action", splitRules(SplitRule{When: "true"}), []string{"/split/rules/0"}},
		{"two actions", splitRules(SplitRule{When: "true", PerUnit: true, Batch: 2}), []string{"/split/rules/0"}},
		{"a negative batch", splitRules(SplitRule{When: "true", Batch: -1}), []string{"/split/rules/0/batch"}},
		{"a path of components", splitRules(SplitRule{When: "true", Components: "parts"}), []string{"/split/rules/0/components"}},
		{
			"amounts that overlap", splitRules(SplitRule{When: "true", PerUnit: true, SplitAmounts: []string{"/a/b", "/a", "/quantity", "/ab"}}),
			[]string{"/split/rules/0/split_amounts/1", "/split/rules/0/split_amounts/2"},
		},
		{
			"everything at once",
			Config{Collision: "x", Split: Split{Rules: []SplitRule{{}}}, Stages: Stages{Rules: []StageRule{{}}}},
			[]string{"/collision", "/split/rules/0/when", "/split/rules/0", "/stages/rules/0/when", "/stages/rules/0/stages"},
		},
	} {
		t.Run("0-D20 refuses "+c.name, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, c.want, faults(t, c.config))
		})
	}
}

func splitRules(rules ...SplitRule) Config { return Config{Split: Split{Rules: rules}} }
