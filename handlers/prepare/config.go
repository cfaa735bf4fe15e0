package prepare

import (
	"cmp"
)

// Config says how orders are prepared. The zero value is the identity: with
// no rules at all an order leaves as it came, whatever its lines look like.
// Paths are JSON Pointers; conditions are expressions of package rule that
// see line and order.
type Config struct {
	Split  Split  `yaml:"split" doc:"how lines are split into jobs"`
	Stages Stages `yaml:"stages" doc:"which stages complete a job; without rules and default no stages are set"`

	WithoutLines  string   `yaml:"without_lines" doc:"what to do with an order that has no order_lines: fail (default) or pass it on as it is"`
	Lenient       bool     `yaml:"lenient" doc:"also pass on orders whose order_lines is null or no array or has a line that is no object, and allow the names of other top-level members twice; default false"`
	Quantity      []string `yaml:"quantity" doc:"paths of a line's quantity, the first that is there counts; default [/quantity, /qty]"`
	OnBadQuantity string   `yaml:"on_bad_quantity" doc:"what to do with a quantity that is zero, negative or no number: fail (default), or keep the line as one job"`
	OrderID       []string `yaml:"order_id" doc:"paths of the order's id, from which job ids are made; default [/orderId, /orderid, /id, /order_id]"`
	Collision     string   `yaml:"collision" doc:"what to do with a line that has one of our members without being a job: fail (default), keep its member, or overwrite it"`
	StageItems    string   `yaml:"stage_items" doc:"how a stage is written: string (default), or object: {name, status: pending}"`
	MaxJobs       int      `yaml:"max_jobs_per_order" doc:"an order that would become more jobs fails; default 10000"`
	MaxOutput     int      `yaml:"max_output" doc:"an order that would become more bytes fails; default 67108864"`
	MaxDepth      int      `yaml:"max_depth" doc:"an order with deeper nesting fails; 8 to 1000, default 64"`
}

// Split holds the rules that split lines. The first whose condition holds
// decides.
type Split struct {
	Rules     []SplitRule `yaml:"rules" doc:"the first rule whose condition holds decides"`
	Otherwise string      `yaml:"otherwise" doc:"what to do when none holds: whole_line (default) or per_unit"`
}

// SplitRule splits the lines for which When holds. It has exactly one of
// PerUnit, Batch, WholeLine and Components. Lines without a quantity, or with
// a fractional one, are never split by it.
type SplitRule struct {
	When         string   `yaml:"when" doc:"condition, for example line.type == \"frame\""`
	PerUnit      bool     `yaml:"per_unit" doc:"a job for each unit, of quantity 1"`
	Batch        int64    `yaml:"batch" doc:"jobs of this quantity, the last of what is left"`
	WholeLine    bool     `yaml:"whole_line" doc:"one job, the quantity untouched"`
	Components   string   `yaml:"components" doc:"path of the line's array of components: a job for each component of each unit, with the component in the member component"`
	SplitAmounts []string `yaml:"split_amounts" doc:"paths of amounts of the whole line that are divided among its jobs, in exact decimals, what remains on the last; others are copied"`
}

// Stages holds the rules that choose a job's stages. The first whose
// condition holds decides.
type Stages struct {
	Rules     []StageRule `yaml:"rules" doc:"the first rule whose condition holds decides"`
	Default   []string    `yaml:"default" doc:"stages when none holds; without it such a job fails"`
	Overwrite bool        `yaml:"overwrite" doc:"replace stages that the order came with; default false: they are kept unless empty"`
}

// StageRule sets the stages of the jobs for which When holds.
type StageRule struct {
	When   string   `yaml:"when" doc:"condition, for example line.type == \"lens\""`
	Stages []string `yaml:"stages" doc:"names, in order; at least one, none twice"`
}

// Choices of the keys of Config.
const (
	Fail      = "fail"      // of without_lines, on_bad_quantity, collision
	Pass      = "pass"      // of without_lines
	Keep      = "keep"      // of on_bad_quantity, collision
	Overwrite = "overwrite" // of collision
	WholeLine = "whole_line"
	PerUnit   = "per_unit"
	AsString  = "string" // of stage_items
	AsObject  = "object"
)

// NewConfig returns the identity with all defaults written out.
func NewConfig() *Config {
	c := Config{}.withDefaults()
	return &c
}

// withDefaults returns a copy in which every key has a value. What was set
// stays, also if it is wrong.
func (c Config) withDefaults() Config {
	c.WithoutLines = cmp.Or(c.WithoutLines, Fail)
	c.OnBadQuantity = cmp.Or(c.OnBadQuantity, Fail)
	c.Collision = cmp.Or(c.Collision, Fail)
	c.StageItems = cmp.Or(c.StageItems, AsString)
	c.Split.Otherwise = cmp.Or(c.Split.Otherwise, WholeLine)
	c.MaxJobs = cmp.Or(c.MaxJobs, 10_000)
	c.MaxOutput = cmp.Or(c.MaxOutput, 64<<20)
	c.MaxDepth = cmp.Or(c.MaxDepth, 64)
	if c.Quantity == nil {
		c.Quantity = []string{"/quantity", "/qty"}
	}
	if c.OrderID == nil {
		c.OrderID = []string{"/orderId", "/orderid", "/id", "/order_id"}
	}
	return c
}

// splits reports whether lines become jobs, stages whether jobs get stages.
// A configuration that does neither is the identity.
func (c Config) splits() bool {
	return len(c.Split.Rules) > 0 || c.Split.Otherwise != WholeLine || c.setsStages()
}

func (c Config) setsStages() bool { return len(c.Stages.Rules) > 0 || len(c.Stages.Default) > 0 }
