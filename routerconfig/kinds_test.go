package routerconfig_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// testKinds are kinds whose configs have every form that a config can have.
func testKinds() pipeline.Kinds {
	return pipeline.NewKinds(
		pipeline.Kind{
			Name: "copy", Doc: "Passes messages on.",
			NewConfig: func() any { return &struct{}{} }, New: noHandler,
		},
		pipeline.Kind{
			Name: "cut", Doc: "Cuts lines by rules.",
			NewConfig: func() any { return newCutConfig() }, New: noHandler,
		},
		pipeline.Kind{
			Name: "fork", Doc: "Writes to named outputs.", Outputs: forkOutputs, Optional: []string{"spare"},
			NewConfig: func() any { return &forkConfig{Names: []string{"left", "right"}} }, New: noHandler,
		},
		pipeline.Kind{
			Name: "call", Doc: "Calls somebody.", Effect: true,
			NewConfig: func() any { return &callConfig{Timeout: 5 * time.Second} }, New: noHandler,
		},
	)
}

func noHandler(pipeline.Env, any) (message.HandlerFunc, error) { return nil, nil }

type cutConfig struct {
	Lines  string            `yaml:"lines" enum:"pass|refuse" doc:"What to do without lines."`
	Rules  []cutRule         `yaml:"rules" doc:"Tried in order."`
	Limit  *int              `yaml:"limit,omitempty" doc:"At most so many." min:"1"`
	Factor float64           `yaml:"factor" doc:"A factor." min:"0" max:"10"`
	Count  uint8             `yaml:"count" doc:"A small number."`
	Labels map[string]string `yaml:"labels" doc:"Text by name."`
	Free   any               `yaml:"free" doc:"Anything."`
	Exact  exact             `yaml:"exact" doc:"A number as it is written."`
	Tags   []string          `yaml:"tags" enum:"a|b|c" doc:"Some of three."`
	cutShared
	hidden int
}

type cutShared struct {
	Quiet bool `yaml:"quiet" doc:"Says less."`
}

type cutRule struct {
	When    string        `yaml:"when" doc:"A condition."`
	Wait    time.Duration `yaml:"wait" doc:"How long."`
	PerUnit bool          `yaml:"per_unit" doc:"A job a unit."`
	Then    []cutRule     `yaml:"then,omitempty" doc:"Further rules."`
}

// SetDefaults makes rules wait.
func (r *cutRule) SetDefaults() { r.Wait = time.Second }

func newCutConfig() *cutConfig { return &cutConfig{Lines: "pass", Factor: 1, hidden: 1} }

// Validate refuses a condition that is no condition.
func (c *cutConfig) Validate() []error {
	var errs []error
	for i, rule := range c.Rules {
		if rule.When == "???" {
			errs = append(errs, &pipeline.FieldError{Pointer: fmt.Sprintf("/rules/%d/when", i), Err: errors.New("this is no condition")})
		}
	}
	if slices.Contains(c.Tags, "a") && slices.Contains(c.Tags, "b") {
		errs = append(errs, errors.New("a and b exclude each other"))
	}
	return errs
}

// exact is a number whose text counts.
type exact string

// UnmarshalText takes digits and one dot.
func (e *exact) UnmarshalText(text []byte) error {
	for _, c := range text {
		if c != '.' && (c < '0' || c > '9') {
			return fmt.Errorf("%q is not exact", text)
		}
	}
	*e = exact(text)
	return nil
}

type forkConfig struct {
	Names []string `yaml:"names" doc:"The outputs."`
}

func forkOutputs(config any) []string {
	c, _ := config.(*forkConfig)
	return c.Names
}

type callConfig struct {
	URL     string            `yaml:"url" doc:"Whom to call."`
	Token   pipeline.Secret   `yaml:"token,omitempty" doc:"Who we are."`
	Headers map[string]string `yaml:"headers,omitempty" doc:"Sent with every call."`
	Timeout time.Duration     `yaml:"timeout" doc:"How long a call may take."`
}
