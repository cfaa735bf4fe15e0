package engine

import (
	"fmt"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
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
	Running  bool        // it consumes
	InFlight int         // messages taken and not yet settled
	Held     []string    // why its intake is closed; empty: it is open
	Draining *DrainState // nil: its topic is not moving

	Delayed store.DelayedCount // what waits in the store, as counted some seconds ago
	Counted bool               // it could be counted
	Inlet   string             // why nothing of it is handed out; "": it is
}

// DrainState is how far a handler is with what its topic has on the broker
// that it is moving away from.
type DrainState struct {
	Broker string // the one that it moves away from
	Left   int64  // messages that wait there; -1: not known
	Others int    // readers in other processes that are waited for
	Why    string // what keeps them from being read; "": nothing
	Done   bool   // there was nothing left, and the new broker is read
	Gate   bool   // the new broker is not read before
}

// State returns the present state. It does not wait.
func (e *Engine) State() State {
	var s State
	for name, b := range e.opts.Brokers {
		s.Brokers = append(s.Brokers, BrokerState{Name: name, Health: b.Health(), Provisioned: raised(e.ready[name])})
	}
	slices.SortFunc(s.Brokers, func(a, b BrokerState) int { return strings.Compare(a.Name, b.Name) })
	for _, r := range e.routes {
		h := r.state()
		h.Delayed, h.Counted = e.waiting.of(h.Name)
		h.Inlet = r.inlet.problem()
		s.Handlers = append(s.Handlers, h)
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
	if r.left == nil {
		return s
	}
	left := r.left.progress.state()
	d := &DrainState{
		Broker: r.left.sub.Topic.Broker, Left: left.left, Others: left.others, Why: left.why,
		Done: left.empty, Gate: r.left.first && !left.empty,
	}
	if s.Draining = d; d.Gate && d.Why != "" {
		s.Held = append(s.Held, d.reason())
	}
	s.InFlight += left.inFlight
	return s
}

func (d *DrainState) reason() string { return fmt.Sprintf("draining broker %s: %s", d.Broker, d.Why) }

// Waits says what of the handler's messages waits in the store.
func (h HandlerState) Waits() []string {
	var notes []string
	if n := h.Delayed.Waiting; n > 0 {
		notes = append(notes, fmt.Sprintf("%d delayed messages wait in the store", n))
	}
	if n := h.Delayed.Parked; n > 0 {
		notes = append(notes, fmt.Sprintf("%d keys are held by dead letters, until they are replayed or archived", n))
	}
	return notes
}

// Notes lists what a person may want to know of a pipeline that is ready: how
// much waits in the store, and how much is left on brokers that topics are
// moving away from.
func (s State) Notes() []string {
	var notes []string
	for _, h := range s.Handlers {
		for _, note := range h.Waits() {
			notes = append(notes, fmt.Sprintf("handler %s: %s", h.Name, note))
		}
		switch d := h.Draining; {
		case d == nil:
		case d.Done && d.Left == 0:
			notes = append(notes, fmt.Sprintf("handler %s: draining broker %s: nothing is left", h.Name, d.Broker))
		case d.Others > 0:
			notes = append(notes, fmt.Sprintf("handler %s: draining broker %s: nothing of %s waits; what its other readers, %d, have in hand is waited for",
				h.Name, d.Broker, h.Topic, d.Others))
		case d.Left >= 0:
			notes = append(notes, fmt.Sprintf("handler %s: draining broker %s: %d messages of %s are left", h.Name, d.Broker, d.Left, h.Topic))
		}
	}
	return notes
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
		if h.Inlet != "" {
			problems = append(problems, fmt.Sprintf("handler %s: its delayed messages wait for the store: %s", h.Name, h.Inlet))
		}
		for _, why := range h.Held {
			problems = append(problems, fmt.Sprintf("handler %s is held: %s", h.Name, why))
		}
		if d := h.Draining; d != nil && !d.Gate && d.Why != "" {
			problems = append(problems, fmt.Sprintf("handler %s: %s", h.Name, d.reason()))
		}
	}
	return problems
}
