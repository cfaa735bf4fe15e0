package brokertest

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// memSource reads a subscription of a memServer.
type memSource struct {
	b   *memBroker
	sub broker.Subscription
}

func (m *memSource) Run(ctx context.Context, w *broker.Window) error {
	s, state := m.b.s, m.state()
	s.lock(func() { state.readers = append(state.readers, m) })
	claim := w.Claim(broker.ClaimOptions{})
	var wg sync.WaitGroup
	ended := make(chan struct{})
	wg.Go(func() { m.acknowledge(claim, ended) })
	m.deliver(ctx, claim, w)

	closing := ctx
	if s.abandons {
		over, cancel := context.WithCancel(ctx)
		cancel()
		closing = over
	}
	_ = claim.Close(closing)
	close(ended)
	wg.Wait()
	if !s.noBarrier {
		m.settle(claim)
	}
	s.lock(func() {
		state.readers = slices.DeleteFunc(state.readers, func(r *memSource) bool { return r == m })
		for pos, by := range state.taken {
			if by == m {
				delete(state.taken, pos)
				if s.losesTaken {
					state.done[pos] = true
				}
			}
		}
	})
	return ctx.Err()
}

func (m *memSource) state() *memSub {
	m.b.s.mu.Lock()
	defer m.b.s.mu.Unlock()
	return m.b.s.subs[m.sub.Name]
}

// deliver hands out what is there, until the window drains.
func (m *memSource) deliver(ctx context.Context, claim *broker.Claim, w *broker.Window) {
	again := int64(1 << 40) // positions of what a defect repeats
	for {
		pos, r, changed := m.take()
		if r == nil {
			storm := make(<-chan time.Time)
			if m.b.s.storms {
				storm = time.After(10 * time.Millisecond)
			}
			select {
			case <-changed:
			case <-storm:
				again = m.repeat(ctx, claim, again)
			case <-w.Draining():
				return
			case <-ctx.Done():
				return
			}
			continue
		}
		if m.give(ctx, claim, int64(pos), r) != nil {
			return
		}
	}
}

func (m *memSource) give(ctx context.Context, claim *broker.Claim, pos int64, r *record) error {
	msg := m.b.s.message(r)
	key := broker.Key(m.sub.Topic, msg)
	if m.b.s.forgetsKey {
		key = ""
	}
	origin := pipeline.Origin{Topic: m.sub.Topic.Name, Group: m.sub.Name, Offset: pos}
	return claim.Deliver(ctx, broker.Delivery{Message: msg, Key: key, Position: pos, Origin: origin})
}

// repeat hands out the oldest message that is taken and not done once more.
func (m *memSource) repeat(ctx context.Context, claim *broker.Claim, again int64) int64 {
	state := m.state()
	m.b.s.mu.Lock()
	var first *record
	for pos := len(m.b.s.topics[m.sub.Topic.Name]) - 1; pos >= 0; pos-- {
		if state.taken[pos] == m && !state.done[pos] {
			first = m.b.s.topics[m.sub.Topic.Name][pos]
		}
	}
	m.b.s.mu.Unlock()
	if first != nil {
		bounded, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		_ = m.give(bounded, claim, again, &record{id: first.id, payload: first.payload, meta: map[string]string{}})
	}
	return again + 1
}

// take returns the next message that is for this reader, or nil and what to
// wait for.
func (m *memSource) take() (int, *record, <-chan struct{}) {
	s, state := m.b.s, m.state()
	s.mu.Lock()
	defer s.mu.Unlock()
	if m.sub.Ordering != pipeline.OrderingNone && state.readers[0] != m && !s.sharesOrdered {
		return 0, nil, s.changed
	}
	log := s.topics[m.sub.Topic.Name]
	for pos := state.start; pos < len(log); pos++ {
		if !state.done[pos] && state.taken[pos] == nil {
			state.taken[pos] = m
			if s.ackOnDelivery {
				state.done[pos] = true
			}
			return pos, log[pos], nil
		}
	}
	return 0, nil, s.changed
}

func (m *memSource) acknowledge(claim *broker.Claim, ended <-chan struct{}) {
	for {
		select {
		case <-claim.Changed():
			if !m.b.s.noBarrier {
				m.settle(claim)
			}
		case <-ended:
			return
		}
	}
}

// settle records what the claim says is done.
func (m *memSource) settle(claim *broker.Claim) {
	p := claim.Take(broker.Progress{})
	state := m.state()
	m.b.s.lock(func() {
		done := slices.Concat(p.Prefix, p.Above)
		if m.b.s.forgetsAbove {
			done = nil
			for pos := state.start; int64(pos) <= p.UpTo; pos++ {
				done = append(done, int64(pos))
			}
		}
		if m.b.s.acksPastGap && len(done) > 0 {
			for pos := range slices.Max(done) {
				done = append(done, pos)
			}
		}
		for _, pos := range done {
			state.done[int(pos)] = true
			delete(state.taken, int(pos))
		}
	})
}
