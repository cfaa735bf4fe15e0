package generic

import (
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/internal/view"
	"github.com/waybill-dev/waybill/handlers/output"
	"github.com/waybill-dev/waybill/handlers/rule"
	"github.com/waybill-dev/waybill/pipeline"
)

// What `otherwise` can be beside an output.
const (
	otherwiseDrop = "drop"
	otherwiseFail = "fail"
)

// RouteConfig is the config of the kind route.
type RouteConfig struct {
	Rules     []RouteRule `yaml:"rules" doc:"Tried in order; the first whose condition is true says where the message goes. There must be one."`
	Otherwise string      `yaml:"otherwise" doc:"What becomes of a message that no rule is for: the name of an output, drop (it is done), or fail (it becomes a dead letter)."`
	All       bool        `yaml:"all" doc:"Send the message to the outputs of all rules that are true, to each output once, not only to that of the first."`
}

// RouteRule is one rule of a route.
type RouteRule struct {
	When string `yaml:"when" doc:"Condition over payload and meta."`
	To   string `yaml:"to" doc:"Name of one of the handler's outputs, a key of its to."`
}

// Validate implements pipeline.Validator.
func (c *RouteConfig) Validate() (faults []error) {
	if len(c.Rules) == 0 {
		faults = appendFault(faults, "/rules", errors.New("at least one rule is needed"))
	}
	for i, r := range c.Rules {
		at := fmt.Sprintf("/rules/%d", i)
		faults = appendFault(faults, at+"/when", condition(r.When))
		faults = appendFault(faults, at+"/to", r.checkTo())
	}
	if c.Otherwise == "" {
		faults = appendFault(faults, "/otherwise", errors.New("an output, drop or fail is needed"))
	}
	return faults
}

func (r RouteRule) checkTo() error {
	switch r.To {
	case "":
		return errors.New("the name of an output is needed")
	case otherwiseDrop, otherwiseFail:
		return fmt.Errorf("an output of a route cannot be named %s, which `otherwise` takes for something else", r.To)
	}
	return nil
}

// outputs names the outputs that the config mentions, each once.
func (c *RouteConfig) outputs() []string {
	var names []string
	seen := map[string]bool{otherwiseDrop: true, otherwiseFail: true}
	add := func(name string) {
		if !seen[name] {
			seen[name] = true
			names = append(names, name)
		}
	}
	for _, r := range c.Rules {
		add(r.To)
	}
	add(c.Otherwise)
	return names
}

// Route returns the kind route.
func Route() pipeline.Kind {
	return pipeline.Kind{
		Name: "route",
		Doc: "Sends a message, unchanged, to the output of the first rule whose condition over `payload` and `meta` is true, " +
			"or with `all` to the outputs of all such rules.",
		Outputs:   func(config any) []string { return config.(*RouteConfig).outputs() },
		NewConfig: func() any { return &RouteConfig{Otherwise: otherwiseFail} },
		New:       newRouter,
	}
}

type router struct {
	config  *RouteConfig
	whens   []*rule.Program // one for each rule
	dropped drops
}

func newRouter(env pipeline.Env, config any) (message.HandlerFunc, error) {
	r := &router{config: config.(*RouteConfig), dropped: drops{log: env.Log}}
	for _, each := range r.config.Rules {
		when, err := view.CompileBool(each.When)
		if err != nil {
			return nil, err
		}
		r.whens = append(r.whens, when)
	}
	return r.handle, nil
}

func (r *router) handle(msg *message.Message) ([]*message.Message, error) {
	names, err := r.match(msg)
	if err != nil {
		return nil, err
	}
	if names == nil {
		return r.otherwise(msg)
	}
	return output.Each(msg, names, msg.Payload), nil
}

// match returns the outputs of the rules that are true, nil if none is.
func (r *router) match(msg *message.Message) ([]string, error) {
	var names []string
	taken := map[string]bool{}
	v := view.Of(msg)
	for i, when := range r.whens {
		to := r.config.Rules[i].To
		if taken[to] {
			continue
		}
		yes, err := v.Bool(when)
		if err != nil {
			return nil, err
		}
		if yes {
			taken[to] = true
			names = append(names, to)
		}
		if yes && !r.config.All {
			break
		}
	}
	return names, nil
}

func (r *router) otherwise(msg *message.Message) ([]*message.Message, error) {
	switch r.config.Otherwise {
	case otherwiseDrop:
		r.dropped.add(msg)
		return nil, nil
	case otherwiseFail:
		return nil, pipeline.Invalid("no rule of the route is for this message")
	}
	return output.Each(msg, []string{r.config.Otherwise}, msg.Payload), nil
}
