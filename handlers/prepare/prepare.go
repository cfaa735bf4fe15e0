package prepare

import (
	"errors"
	"sync"
)

// Preparer prepares orders. It does no I/O and holds no state of an order;
// many goroutines may use it at once.
type Preparer struct {
	config       Config
	quantity     paths
	orderID      paths
	split        []splitRule
	otherwise    *splitRule
	stages       []stageRule
	preset       []byte // the default stages as JSON; nil: there are none
	widestStages int    // bytes of the longest list of stages
	stagesOfLine bool   // stage rules give the same for a line and its jobs
	spaces       sync.Pool
}

// New compiles a configuration. The error joins all faults of Validate.
func New(config Config) (*Preparer, error) {
	if err := errors.Join(config.Validate()...); err != nil {
		return nil, err
	}
	config = config.withDefaults()
	p := &Preparer{config: config, otherwise: otherwise(config.Split)}
	p.spaces.New = func() any { return newWorkspace() }
	p.quantity, p.orderID = newPaths(config.Quantity), newPaths(config.OrderID)
	var err error
	if p.split, err = compileSplit(config.Split); err != nil {
		return nil, err
	}
	if p.stages, err = compileStages(config); err != nil {
		return nil, err
	}
	if config.Stages.Default != nil {
		p.preset = stageList(config.Stages.Default, config.StageItems)
	}
	p.widestStages, p.stagesOfLine = len(p.preset), true
	for _, r := range p.stages {
		p.widestStages = max(p.widestStages, len(r.list))
		p.stagesOfLine = p.stagesOfLine && looksAtLineOnly(r.when, config)
	}
	return p, nil
}

// steps says which of the two steps a pass takes.
type steps struct{ split, stages bool }

// Prepare splits the order's lines into jobs and gives every job its stages.
// It returns the new order, or the one it was given if nothing is to be
// changed; that one's bytes are never written to. The error is
// pipeline.Invalid and names the line, counted from 1, and the rule.
func (p *Preparer) Prepare(order []byte) ([]byte, error) {
	return p.run(order, steps{split: p.config.splits(), stages: p.config.setsStages()})
}

// Normalise is the first step of Prepare: it makes jobs of the order's lines.
func (p *Preparer) Normalise(order []byte) ([]byte, error) {
	return p.run(order, steps{split: p.config.splits()})
}

// AddStages is the second step of Prepare: it gives every line of the order,
// each a job by now, its stages.
func (p *Preparer) AddStages(order []byte) ([]byte, error) {
	return p.run(order, steps{stages: p.config.setsStages()})
}

func (p *Preparer) run(order []byte, do steps) ([]byte, error) {
	if err := p.check(order); err != nil {
		return nil, err
	}
	w, _ := p.spaces.Get().(*workspace)
	defer p.put(w)
	w.begin(p, order, do)
	shape, err := w.read()
	switch {
	case err != nil:
		return nil, err
	case shape != nil && !shape.allowed(p.config):
		return nil, shape.err
	case shape != nil || len(w.plans) == 0:
		return order, nil
	}
	return w.build()
}

// put gives back a workspace.
func (p *Preparer) put(w *workspace) {
	w.release()
	if !w.oversized() {
		p.spaces.Put(w)
	}
}

// shapeError is the refusal of an order for the shape of its lines, which a
// configuration can allow.
type shapeError struct {
	err     error
	missing bool // there is no order_lines at all
}

func (e *shapeError) Error() string { return e.err.Error() }

func (e *shapeError) allowed(c Config) bool {
	return c.Lenient || e.missing && c.WithoutLines == Pass
}
