package routerconfig

import (
	"slices"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
)

// consumerTimeout is RabbitMQ's default.
const consumerTimeout = 30 * time.Minute

// linter warns of what loads and is probably not meant. It looks only at
// configs without errors.
type linter struct {
	*report

	pipe  pipeline.Pipeline
	kinds pipeline.Kinds
}

func lint(c *config, p pipeline.Pipeline, kinds pipeline.Kinds, r *report) {
	l := &linter{report: r, pipe: p, kinds: kinds}
	for name, b := range p.Brokers {
		l.broker(pointer("/brokers").key(name), b)
	}
	for name := range c.Topics {
		l.topic(pointer("/topics").key(name), p.Topics[name])
	}
	for _, h := range p.Handlers {
		l.handler(pointer("/handlers").key(h.Name), h)
	}
	l.circles()
}

func (l *linter) broker(p pointer, b pipeline.Broker) {
	tls := p.key("tls")
	if b.TLS.SkipVerify {
		l.warnf(tls.key("skip_verify"), "name the broker's authority with ca_file", "anybody can pose as this broker")
	}
	if !b.TLS.Enabled && b.TLS != (pipeline.TLS{}) {
		l.warnf(tls, "set tls.enabled: true", "TLS is off, so these keys have no effect")
	}
}

func (l *linter) topic(p pointer, t pipeline.Topic) {
	if !l.isUsed(t.Name) {
		l.warnf(p, "remove it, if nobody else publishes or tails it here", "no handler reads or writes this topic")
	}
	if t.Draining != "" && !l.isRead(t.Name) {
		l.warnf(p.key("draining"), "remove it, and move by hand what is left there",
			"no handler reads this topic, so nothing is read from %s", t.Draining)
	}
	driver := l.pipe.Brokers[t.Broker].Driver
	if driver == pipeline.DriverRabbitMQ || l.pipe.Brokers[t.Draining].Driver == pipeline.DriverRabbitMQ {
		return
	}
	n, _ := l.root.walk(p)
	for _, e := range n.entries {
		if slices.Contains(rabbitKeys, e.key) {
			l.warnf(p.key(e.key), "", "it has no effect on a broker with driver %s", driver)
		}
	}
}

func (l *linter) isUsed(topic string) bool {
	return slices.ContainsFunc(l.pipe.Handlers, func(h pipeline.Handler) bool {
		return h.From == topic || h.DeadLetter == topic || slices.Contains(targets(h), topic)
	})
}

func (l *linter) isRead(topic string) bool {
	return slices.ContainsFunc(l.pipe.Handlers, func(h pipeline.Handler) bool { return h.From == topic })
}

func (l *linter) handler(p pointer, h pipeline.Handler) {
	if h.Concurrency > h.InFlight {
		l.warnf(p.key("in_flight"), "raise in_flight", "no more than %d of %d can be handled at a time", h.InFlight, h.Concurrency)
	}
	rabbit := l.pipe.Brokers[l.pipe.Topics[h.From].Broker].Driver == pipeline.DriverRabbitMQ
	if held := time.Duration(h.Retry.Immediate+1) * h.Timeout; rabbit && (held == 0 || held >= consumerTimeout) {
		l.warnf(p.key("timeout"), "keep all runs together below that",
			"RabbitMQ hands a message out again that is held for longer than its consumer_timeout, %.0f minutes by default", consumerTimeout.Minutes())
	}
	l.ordering(p, h)
	kind, _ := l.kinds.Get(h.Kind)
	if kind.Effect {
		l.effect(p, h)
	}
	names := outputNames(kind, h.Config)
	if len(names) == 0 {
		return
	}
	for _, output := range sorted(h.To) {
		if !slices.Contains(names, output) && !slices.Contains(kind.Optional, output) {
			l.warnf(p.key("to").key(output), "remove it", "the kind %s never writes to this output", h.Kind)
		}
	}
}

// ordering warns of a handler that takes no notice of its topic's key, unless the
// file says that this is meant.
func (l *linter) ordering(p pointer, h pipeline.Handler) {
	keyed := len(l.pipe.Topics[h.From].Key) > 0
	if keyed && min(h.Concurrency, h.InFlight) > 1 && h.Ordering == pipeline.OrderingNone && !l.given(p.key("ordering")) {
		l.warnf(p, "write ordering: key, or ordering: none if it is meant",
			"messages of %s with the same key are handled side by side, in any order", h.From)
	}
}

// effect warns of a kind that acts on the world and will do so for all that a
// topic has, unless the file says that this is meant. A topic that a handler
// of the file writes is taken to be as new as the file.
func (l *linter) effect(p pointer, h pipeline.Handler) {
	fed := slices.ContainsFunc(l.pipe.Handlers, func(other pipeline.Handler) bool {
		return slices.Contains(targets(other), h.From)
	})
	if !fed && h.Start == (pipeline.Start{}) && !l.given(p.key("start")) {
		l.warnf(p, "write start: newest, or start: oldest if it is meant",
			"the kind %s acts on the world, also for all messages that %s has already", h.Kind, h.From)
	}
}

// circles warns of handlers through which messages go round for ever.
func (l *linter) circles() {
	caught := l.withoutExits(l.pipe.Handlers)
	told := map[string]bool{}
	for _, h := range caught {
		var circle []string
		for _, other := range caught {
			if reaches(caught, h.From, other.From) && reaches(caught, other.From, h.From) {
				circle = append(circle, other.Name)
			}
		}
		names := strings.Join(circle, ", ")
		if !told[names] {
			l.warnf(pointer("/handlers").key(h.Name).key("to"), "break the circle, or let a kind such as route lead out of it",
				"messages go round for ever through %s", names)
		}
		told[names] = true
	}
}

// withoutExits returns the handlers that always send messages back to
// themselves. One that chooses among its outputs, with a way out among them,
// opens all circles that it is part of.
func (l *linter) withoutExits(handlers []pipeline.Handler) []pipeline.Handler {
	kept := slices.DeleteFunc(slices.Clone(handlers), func(h pipeline.Handler) bool {
		back := 0
		for _, topic := range h.To {
			if reaches(handlers, topic, h.From) {
				back++
			}
		}
		kind, _ := l.kinds.Get(h.Kind)
		chooses := len(outputNames(kind, h.Config)) > 0
		return back == 0 || chooses && back < len(h.To)
	})
	if len(kept) == len(handlers) {
		return kept
	}
	return l.withoutExits(kept)
}

// reaches says whether what is in one topic is in the other, or comes there by
// the handlers.
func reaches(handlers []pipeline.Handler, from, to string) bool {
	seen := []string{from}
	for i := 0; i < len(seen); i++ {
		for _, h := range handlers {
			if h.From != seen[i] {
				continue
			}
			for _, next := range targets(h) {
				if !slices.Contains(seen, next) {
					seen = append(seen, next)
				}
			}
		}
	}
	return slices.Contains(seen, to)
}

// targets are the topics that a handler writes.
func targets(h pipeline.Handler) []string {
	var topics []string
	for _, output := range sorted(h.To) {
		topics = append(topics, h.To[output])
	}
	return topics
}
