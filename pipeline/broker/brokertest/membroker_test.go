package brokertest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// defects are ways to break the broker in memory, one for each promise that
// the suite is to hold a driver to.
type defects struct {
	ackOnDelivery   bool // acknowledges before the handler has run
	acksPastGap     bool // acknowledges everything up to the newest ack
	forgetsAbove    bool // keeps only the contiguous prefix of acks
	noBarrier       bool // ends without making sure of its last acks
	storms          bool // hands out again what it has handed out and is not done
	losesTaken      bool // what was taken and not begun is gone at close
	abandons        bool // does not wait for handlers when it drains
	forgetsKey      bool // delivers without the key
	sharesOrdered   bool // lets two instances read an ordered subscription
	losesUnroutable bool // reports success for a topic that is not there
	oneErrorForAll  bool // fails a whole batch for one bad message
	confirmsEarly   bool // confirms what it has not stored, and forgets it at close
	tellsTwice      bool // tells twice what became of a message
	dropsEmpty      bool // loses metadata without a value
	unstableIDs     bool // makes up another id at each delivery
	ignoresDeadline bool // publishes though the message's context is over
	tailSteals      bool // a tail takes what it shows
	tailSkips       bool // a tail is ready before it is
	startsOldest    bool // whatever the start
	resets          bool // Provision begins again
	makesOnVerify   bool // Provision makes also what it is to verify
	miscounts       bool // Inspect forgets one
	halfCommits     bool // Commit publishes before it knows that it can
}

// memServer is the broker that all memBrokers of a test connect to.
type memServer struct {
	defects

	mu      sync.Mutex
	topics  map[string][]*record
	subs    map[string]*memSub
	changed chan struct{} // closed and replaced at every change
}

type record struct {
	id      string
	payload []byte
	meta    message.Metadata
	at      time.Time
}

// memSub is what the server knows of a subscription.
type memSub struct {
	start   int // positions below are not for it
	done    map[int]bool
	taken   map[int]*memSource
	readers []*memSource
}

func newMemServer(d defects) *memServer {
	return &memServer{
		defects: d, topics: make(map[string][]*record), subs: make(map[string]*memSub),
		changed: make(chan struct{}),
	}
}

func (s *memServer) harness() Harness {
	return Harness{
		Features: Features{Name: "mem", Log: true, SharesPartition: true},
		Open: func(_ testing.TB, opts broker.Options) broker.Broker {
			return &memBroker{s: s, opts: opts}
		},
		PublishRaw: func(_ testing.TB, topic pipeline.Topic, raw Raw) {
			s.lock(func() { s.append(topic.Name, &record{payload: raw.Payload, at: time.Now()}) })
		},
	}
}

// lock runs change and wakes whoever waits for one.
func (s *memServer) lock(change func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change()
	close(s.changed)
	s.changed = make(chan struct{})
}

func (s *memServer) append(topic string, r *record) { s.topics[topic] = append(s.topics[topic], r) }

// memBroker is one process' connection.
type memBroker struct {
	s      *memServer
	opts   broker.Options
	mu     sync.Mutex
	closed bool
}

func (b *memBroker) Publisher() message.Publisher { return memPublisher{b} }

func (b *memBroker) Source(sub broker.Subscription) broker.Source { return &memSource{b: b, sub: sub} }

func (b *memBroker) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.closed = true
	return nil
}

func (b *memBroker) Health() broker.Health { return broker.Health{Connected: true, Address: "memory"} }

func (b *memBroker) Provision(_ context.Context, topics []pipeline.Topic, subs []broker.Subscription) error {
	var err error
	b.s.lock(func() {
		for _, t := range topics {
			if _, there := b.s.topics[t.Name]; !there && t.Provision == pipeline.ProvisionVerify && !b.s.makesOnVerify {
				err = pipeline.Permanent(fmt.Errorf("topic %s is not there: create it", t.Name))
				return
			}
			b.s.topics[t.Name] = slices.Clip(b.s.topics[t.Name])
		}
		for _, sub := range subs {
			if b.s.subs[sub.Name] == nil || b.s.resets {
				b.s.subs[sub.Name] = &memSub{
					start: b.s.begin(sub), done: make(map[int]bool), taken: make(map[int]*memSource),
				}
			}
		}
	})
	return err
}

func (s *memServer) begin(sub broker.Subscription) int {
	log := s.topics[sub.Topic.Name]
	switch {
	case s.startsOldest:
		return 0
	case sub.Start.Newest:
		return len(log)
	case !sub.Start.Time.IsZero():
		return slices.IndexFunc(append(slices.Clip(log), &record{at: time.Unix(math.MaxInt32, 0)}),
			func(r *record) bool { return !r.at.Before(sub.Start.Time) })
	}
	return 0
}

func (b *memBroker) Inspect(_ context.Context, _ []pipeline.Topic, subs []broker.Subscription) ([]broker.Status, error) {
	b.s.mu.Lock()
	defer b.s.mu.Unlock()
	var rows []broker.Status
	for _, sub := range subs {
		state := b.s.subs[sub.Name]
		ready := len(b.s.topics[sub.Topic.Name]) - state.start - len(state.done) - len(state.taken)
		if b.s.miscounts {
			ready--
		}
		rows = append(rows, broker.Status{
			Name: sub.Name, Topic: sub.Topic.Name, Ready: int64(ready),
			InFlight: int64(len(state.taken)), Consumers: len(state.readers),
		})
	}
	return rows, nil
}

func (b *memBroker) Tail(ctx context.Context, topic pipeline.Topic, opts broker.TailOptions, f func(*message.Message) error) error {
	if opts.Ready != nil && b.s.tailSkips {
		opts.Ready()
		time.Sleep(still) //nolint:forbidigo // the defect: late
	}
	b.s.mu.Lock()
	at := len(b.s.topics[topic.Name])
	b.s.mu.Unlock()
	if opts.Oldest {
		at = 0
	}
	if opts.Ready != nil {
		opts.Ready()
	}
	for ; ; at++ {
		var r *record
		for r == nil {
			b.s.mu.Lock()
			log, changed := b.s.topics[topic.Name], b.s.changed
			if at < len(log) {
				r = log[at]
			}
			if r != nil && b.s.tailSteals {
				for _, sub := range b.s.subs {
					sub.done[at] = true
				}
			}
			b.s.mu.Unlock()
			if r != nil {
				break
			}
			if opts.Oldest && !opts.Follow {
				return nil
			}
			select {
			case <-changed:
			case <-ctx.Done():
				return ctx.Err()
			}
		}
		if err := f(b.s.message(r)); err != nil {
			return err
		}
	}
}

func (s *memServer) message(r *record) *message.Message {
	msg := message.NewMessage(r.id, r.payload)
	maps.Copy(msg.Metadata, r.meta)
	if r.id == "" {
		msg.UUID = "raw-" + string(r.payload)
		if s.unstableIDs {
			msg.UUID = uuid.NewString()
		}
		msg.Metadata.Set(pipeline.MetaIDSource, pipeline.IDSourceContent)
	}
	return msg
}

// check returns why msg can't be published to topic, or nil.
func (b *memBroker) check(name string, msg *message.Message) error {
	topic, ok := b.opts.Topic(name)
	switch {
	case b.closed:
		return pipeline.WithReason(errors.New("closed"), pipeline.ReasonUnavailable)
	case !ok && !b.s.losesUnroutable:
		return pipeline.Permanent(pipeline.WithReason(fmt.Errorf("no topic %s", name), pipeline.ReasonUnroutable))
	case topic.MaxMessage > 0 && len(msg.Payload) > topic.MaxMessage:
		return pipeline.Permanent(pipeline.WithReason(errors.New("too large"), pipeline.ReasonTooLarge))
	case msg.Context().Err() != nil && !b.s.ignoresDeadline:
		return pipeline.WithReason(msg.Context().Err(), pipeline.ReasonTimeout)
	}
	return nil
}

func (b *memBroker) store(topic string, msg *message.Message) {
	if _, ok := b.opts.Topic(topic); !ok {
		return
	}
	meta := maps.Clone(msg.Metadata)
	if b.s.dropsEmpty {
		maps.DeleteFunc(meta, func(_, v string) bool { return v == "" })
	}
	b.s.append(topic, &record{id: msg.UUID, payload: slices.Clone(msg.Payload), meta: meta, at: time.Now()})
}

type memPublisher struct{ b *memBroker }

func (memPublisher) Close() error { return nil }

func (p memPublisher) Publish(topic string, msgs ...*message.Message) error {
	p.b.mu.Lock()
	defer p.b.mu.Unlock()
	errs := make([]error, len(msgs))
	p.b.s.lock(func() {
		for i, msg := range msgs {
			if errs[i] = p.b.check(topic, msg); errs[i] != nil && p.b.s.oneErrorForAll {
				errs = slices.Repeat(errs[i:i+1], len(msgs))
				return
			}
			if errs[i] == nil && !(p.b.s.confirmsEarly && i%10 == 9) {
				p.b.store(topic, msg)
			}
		}
	})
	return broker.PublishFailed(errs)
}

// Start tells at once: nothing here takes time.
func (b *memBroker) Start(topic string, msg *message.Message, to pipeline.Confirmer, number int) bool {
	if b.s.confirmsEarly && number%10 == 9 {
		to.Confirmed(number, nil)
		return true
	}
	err := memPublisher{b}.Publish(topic, msg)
	if err == nil {
		to.Confirmed(number, nil)
	}
	if err == nil && b.s.tellsTwice && number == 7 {
		to.Confirmed(number, nil)
	}
	return err == nil
}

func (b *memBroker) StartCommit(ctx context.Context, in *message.Message, out []broker.Outgoing, to pipeline.Confirmer) bool {
	err := b.Commit(ctx, in, out)
	for i := range out {
		to.Confirmed(i, err)
	}
	return true
}

func (b *memBroker) Home() string { return "" }

func (b *memBroker) Commit(_ context.Context, in *message.Message, out []broker.Outgoing, _ ...pipeline.Write) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, o := range out {
		if err := b.check(o.Topic, o.Message); err != nil {
			return err
		}
		if b.s.halfCommits {
			b.s.lock(func() { b.store(o.Topic, o.Message) })
		}
	}
	_, pos := broker.ClaimOf(in)
	b.s.lock(func() {
		for _, o := range out {
			if !b.s.halfCommits {
				b.store(o.Topic, o.Message)
			}
		}
		b.s.subs[pipeline.OriginOf(in.Context()).Group].done[int(pos)] = true
	})
	return nil
}
