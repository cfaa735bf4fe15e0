package brokertest

import (
	"maps"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// still is how long a test looks on where something must not happen and no
// later event would prove it.
const still = 200 * time.Millisecond

// inFlightIsBoundedByCount: no more messages are taken than InFlight, no more
// handlers run than Concurrency, and neither leaves a place unused.
func inFlightIsBoundedByCount(f *fixture) {
	b, sub := f.ready(func(s *broker.Subscription) { s.Concurrency, s.InFlight = 8, 16 })
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, 200, 0)...)
	gate := make(chan struct{})
	c := f.consume(b, sub, until(gate))
	f.eventually(func() bool {
		running, _, _ := c.count()
		return running == 8 && c.sub.InFlight() == 16
	}, "8 run and 16 are in flight")
	time.Sleep(still)
	require.Equal(f, 16, c.sub.InFlight(), "messages in flight")
	close(gate)
	f.eventually(func() bool { return c.acked() == 200 }, "all are handled")
	_, peak, most := c.count()
	require.LessOrEqual(f, peak, 8, "handlers at a time")
	require.LessOrEqual(f, most, 16, "messages in flight")
}

// inFlightIsBoundedByBytes: payloads in flight stay below InFlightBytes, and
// one that is larger than that passes alone.
func inFlightIsBoundedByBytes(f *fixture) {
	b, sub := f.ready(func(s *broker.Subscription) { s.InFlightBytes = 64 << 10 })
	msgs := f.messages(sub.Topic, 0, 41, 0)
	for _, msg := range msgs {
		msg.Payload = make([]byte, 10<<10)
	}
	msgs[40].Payload = make([]byte, 100<<10)
	f.publish(b, sub.Topic, msgs...)
	gate := make(chan struct{})
	c := f.consume(b, sub, until(gate))
	f.eventually(func() bool {
		running, _, _ := c.count()
		return running == 6
	}, "as many run as fit into the bytes")
	time.Sleep(still)
	close(gate)
	f.eventually(func() bool { return c.acked() == 41 }, "all are handled, the large one too")
	_, peak, most := c.count()
	require.LessOrEqual(f, peak, 6, "handlers at a time")
	require.LessOrEqual(f, most, 6, "messages in flight")
}

// concurrencyIsReached: 256 handlers run at once on a single partition or
// queue, where the published adapters run one.
func concurrencyIsReached(f *fixture) {
	b, sub := f.ready(ordered(pipeline.OrderingNone, 256))
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, 300, 0)...)
	var met sync.WaitGroup // of the first 256; none returns before all are here
	met.Add(256)
	all := make(chan struct{})
	go func() { met.Wait(); close(all) }()
	var mu sync.Mutex
	arrived := 0
	c := f.consume(b, sub, func(msg *message.Message) verdict {
		mu.Lock()
		if arrived++; arrived <= 256 {
			met.Done()
		}
		mu.Unlock()
		return until(all)(msg)
	})
	f.eventually(func() bool { return c.acked() == 300 }, "256 handlers meet")
	_, peak, _ := c.count()
	require.Equal(f, 256, peak, "handlers at a time")
}

// instancesShareWork: with `ordering: none` two processes with the same
// subscription both get work, and together all of it.
func instancesShareWork(f *fixture) {
	few := func(s *broker.Subscription) { s.Concurrency, s.InFlight = 4, 8 }
	one, two := f.open(), f.open()
	topic := f.topic()
	if !f.h.Features.SharesPartition {
		topic = f.topic(f.partitioned)
	}
	sub := f.subscription(topic, few)
	f.provision(one, sub)
	gate := make(chan struct{})
	a, b := f.consume(one, sub, until(gate)), f.consume(two, sub, until(gate))
	// Publish until both hold their fill: who joins when is the broker's affair.
	published := 0
	f.eventually(func() bool {
		f.publish(one, topic, f.messages(topic, published, published+20, 10)...)
		published += 20
		ra, _, _ := a.count()
		rb, _, _ := b.count()
		return ra == 4 && rb == 4
	}, "both instances work")
	close(gate)
	f.eventually(func() bool {
		ids := a.ids(func(r run) bool { return r.ended && r.verdict == ack })
		for id := range b.ids(func(r run) bool { return r.ended && r.verdict == ack }) {
			ids[id]++
		}
		return len(ids) == published
	}, "everything is handled by one or the other")
}

// nackPausesAndBlocksNoOther: a nacked message comes again after a pause that
// grows, in its lane and with its id, while other keys go on.
func nackPausesAndBlocksNoOther(f *fixture) {
	b, sub := f.ready(ordered(pipeline.OrderingKey, 16))
	msgs := []*message.Message{f.message(sub.Topic, 0, "bad"), f.message(sub.Topic, 1, "bad")}
	bad, after := msgs[0].UUID, msgs[1].UUID
	msgs = append(msgs, f.messages(sub.Topic, 2, 102, 10)...)
	f.publish(b, sub.Topic, msgs...)
	heal := make(chan struct{})
	c := f.consume(b, sub, func(msg *message.Message) verdict {
		select {
		case <-heal:
			return ack
		default:
			if msg.UUID == bad {
				return nack
			}
			return ack
		}
	})
	f.eventually(func() bool { return c.acked() == 100 }, "other keys go on")
	began := time.Now()
	f.eventually(func() bool { return time.Since(began) > 2*time.Second }, "two seconds pass")
	runs := c.ids(func(r run) bool { return r.id == bad })[bad]
	require.Greater(f, runs, 1, "it is handed out again")
	require.LessOrEqual(f, runs, 20, "runs of a nacked message in two seconds: a hot loop")
	require.False(f, c.has(after), "the next of its key waits")
	close(heal)
	f.eventually(func() bool { return c.acked() == 102 }, "it is handled once it can be")
}

// pauseAndResume: while paused nothing new begins and what runs goes on; after
// as many resumes everything comes.
func pauseAndResume(f *fixture) {
	b, sub := f.ready()
	gate := make(chan struct{})
	c := f.consume(b, sub, until(gate))
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, 5, 0)...)
	f.eventually(func() bool { return c.began() == 5 }, "five begin")
	c.sub.Pause()
	c.sub.Pause()
	close(gate)
	f.eventually(func() bool { return c.acked() == 5 }, "what runs goes on")
	f.publish(b, sub.Topic, f.messages(sub.Topic, 5, 50, 0)...)
	c.sub.Resume()
	time.Sleep(still)
	require.Equal(f, 5, c.began(), "messages that began while paused")
	c.sub.Resume()
	f.eventually(func() bool { return c.acked() == 50 }, "all come after the last resume")
}

// slowAndPoisonHoldUpNobody: one handler is stuck and another fails for ever.
// A second instance joins, which on some brokers moves partitions. All other
// messages are handled meanwhile, and those two once they can be.
func slowAndPoisonHoldUpNobody(f *fixture) {
	const total = 400
	topic := f.topic(f.partitioned)
	sub := f.subscription(topic, ordered(pipeline.OrderingKey, 16))
	one, two := f.open(), f.open()
	f.provision(one, sub)
	slow, poison := f.message(topic, 0, "slow"), f.message(topic, 1, "poison")
	gate := make(chan struct{})
	handle := func(msg *message.Message) verdict {
		switch msg.UUID {
		case slow.UUID:
			return until(gate)(msg)
		case poison.UUID:
			select {
			case <-gate:
			default:
				return nack
			}
		}
		return ack
	}
	f.publish(one, topic, slow, poison)
	a := f.consume(one, sub, handle)
	f.eventually(func() bool { return a.began() == 2 }, "both begin")
	b := f.consume(two, sub, handle)
	handled := func() int {
		ids := a.ids(func(r run) bool { return r.ended && r.verdict == ack })
		maps.Copy(ids, b.ids(func(r run) bool { return r.ended && r.verdict == ack }))
		return len(ids)
	}
	for n := 2; n < total; n += 40 { // while the second joins
		f.publish(one, topic, f.messages(topic, n, min(n+40, total), 17)...)
		time.Sleep(still / 4)
	}
	f.eventually(func() bool { return handled() == total-2 }, "all others are handled meanwhile")
	close(gate)
	f.eventually(func() bool { return handled() == total }, "the two are handled as well")
}
