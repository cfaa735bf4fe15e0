package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

// State is how the pipeline stands at a moment.
type State struct {
	Brokers  []BrokerState  // by name
	Handlers []HandlerState // as in the config
}

// BrokerState is one broker's.
type BrokerState struct {
	Name        string
	Health      broker.Health
	Provisioned bool
}

// HandlerState is one handler's.
type HandlerState struct {
	Name     string
	Topic    string
	Group    string
	Running  bool     // it consumes
	InFlight int      // messages taken and not yet settled
	Held     []string // why its intake is closed; empty: it is open
}

// State returns the present state. It does not wait.
func (e *Engine) State() State {
	var s State
	for name, b := range e.opts.Brokers {
		s.Brokers = append(s.Brokers, BrokerState{Name: name, Health: b.Health(), Provisioned: raised(e.ready[name])})
	}
	slices.SortFunc(s.Brokers, func(a, b BrokerState) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range e.routes {
		s.Handlers = append(s.Handlers, r.state())
	}
	return s
}

func (r *route) state() HandlerState {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := HandlerState{
		Name: r.handler.Name, Topic: r.sub.Topic.Name, Group: r.sub.Name,
		Running: r.begun, InFlight: r.subscriber.InFlight(),
	}
	for why := range r.stalled {
		s.Held = append(s.Held, why)
	}
	slices.Sort(s.Held)
	return s
}

func raised(f *flag) bool {
	select {
	case <-f.ch:
		return true
	default:
		return false
	}
}

// Problems lists what keeps the pipeline from working, each named with where
// it is. Empty: it is ready.
func (s State) Problems() []string {
	var problems []string
	for _, b := range s.Brokers {
		switch {
		case !b.Health.Connected:
			problems = append(problems, fmt.Sprintf("broker %s at %s: not connected: %v", b.Name, b.Health.Address, b.Health.Err))
		case b.Health.Blocked != "":
			problems = append(problems, fmt.Sprintf("broker %s at %s: refuses publishes: %s", b.Name, b.Health.Address, b.Health.Blocked))
		case !b.Provisioned:
			problems = append(problems, fmt.Sprintf("broker %s: its topics are not provisioned yet", b.Name))
		}
		for _, incident := range b.Health.Incidents {
			problems = append(problems, fmt.Sprintf("broker %s: %s", b.Name, incident))
		}
	}
	for _, h := range s.Handlers {
		if !h.Running {
			problems = append(problems, fmt.Sprintf("handler %s: waits for its brokers", h.Name))
		}
		for _, why := range h.Held {
			problems = append(problems, fmt.Sprintf("handler %s is held: %s", h.Name, why))
		}
	}
	return problems
}
