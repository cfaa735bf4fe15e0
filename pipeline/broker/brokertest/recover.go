package brokertest

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// recoversFromACutQueue: the place of a subscription is deleted under its
// consumer. No phantom message appears, and once it is provisioned again what
// is published arrives.
func recoversFromACutQueue(f *fixture) {
	b, sub := f.ready()
	c := f.consume(b, sub, nil)
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, 10, 0)...)
	f.eventually(func() bool { return c.acked() == 10 }, "it reads")
	f.h.Cut(f, sub)
	n := 10
	f.eventually(func() bool {
		// The driver makes the place again by itself; until then publishes may
		// fail, or go where nobody reads any more.
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		msg := f.message(sub.Topic, n, "")
		msg.SetContext(ctx)
		n++
		return b.Publisher().Publish(sub.Topic.Name, msg) == nil && c.acked() > 10
	}, "it reads again")
	f.publish(b, sub.Topic, f.message(sub.Topic, n, ""))
	last := f.message(sub.Topic, n, "").UUID
	f.eventually(func() bool { return c.has(last) }, "what is published then arrives")
	for _, r := range c.log() {
		require.NotEmpty(f, r.id, "a phantom message")
		require.NotEmpty(f, r.payload, "a phantom message")
	}
}

// exerciseNode proves what needs a broker that can be killed.
func exerciseNode(t *testing.T, h Harness) {
	node := h.Node(t)
	h.Open, h.Remove = node.Open, nil
	run := func(name string, test func(*fixture, *Node)) {
		t.Run(name, func(t *testing.T) { test(newFixture(t, h), node) })
	}
	run("ConsumesOnceTheBrokerIsUp", consumesOnceTheBrokerIsUp)
	run("SurvivesAKilledBroker", survivesAKilledBroker)
	run("FrozenBrokerKeepsPublishDeadline", frozenBrokerKeepsPublishDeadline)
	if node.Block != nil {
		run("BlockedBrokerKeepsPublishDeadline", blockedBrokerKeepsPublishDeadline)
	}
	if len(node.RestartCommand) > 0 {
		t.Run("Universal", func(t *testing.T) { universalReconnect(t, h, node) })
	}
}

// consumesOnceTheBrokerIsUp: Open and Subscribe succeed while nothing listens;
// health says so without the password; consuming begins by itself.
func consumesOnceTheBrokerIsUp(f *fixture, node *Node) {
	node.Start(f)
	sub := f.subscription(f.topic())
	before := f.open()
	f.provision(before, sub)
	f.publish(before, sub.Topic, f.messages(sub.Topic, 0, 10, 0)...)
	f.closed(before)
	node.Kill(f)

	b := f.open()
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return !b.Health().Connected && b.Health().Err != nil }, "health says that it is away")
	require.NotEmpty(f, b.Health().Address)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	err := b.Provision(ctx, []pipeline.Topic{sub.Topic}, []broker.Subscription{sub})
	require.Equal(f, pipeline.ReasonUnavailable, pipeline.ReasonOf(err), "Provision: %v", err)
	requireOutcomeUnknown(f, b, sub)

	node.Start(f)
	f.eventually(func() bool { return c.acked() >= 10 }, "it reads once the broker is up")
	f.eventually(func() bool { return b.Health().OK() }, "health says that it is back")
}

// requireOutcomeUnknown: a publish with a deadline of one second returns soon
// after it, with a reason that is worth another try.
func requireOutcomeUnknown(f *fixture, b broker.Broker, sub broker.Subscription) {
	f.Helper()
	msg := f.message(sub.Topic, int(time.Now().UnixNano()%1_000_000_000), "")
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	msg.SetContext(ctx)
	began := time.Now()
	errs := f.publishErrors(b, sub.Topic.Name, msg)
	require.Less(f, time.Since(began), 15*time.Second, "the deadline of one second is honoured")
	require.Error(f, errs[0])
	require.Contains(f, []pipeline.Reason{pipeline.ReasonTimeout, pipeline.ReasonUnavailable}, pipeline.ReasonOf(errs[0]), "%v", errs[0])
	require.False(f, pipeline.IsPermanent(errs[0]), "%v", errs[0])
}

// survivesAKilledBroker: the broker is killed under publishers and a
// consumer. All that was confirmed is handled, and both go on by themselves.
func survivesAKilledBroker(f *fixture, node *Node) {
	node.Start(f)
	b := f.open()
	sub := f.subscription(f.topic(f.partitioned), ordered(pipeline.OrderingKey, 32))
	f.provision(b, sub)
	c := f.consume(b, sub, nil)
	var mu sync.Mutex
	confirmed := make(map[string]bool)
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for p := range 8 {
		wg.Go(func() {
			for n := p * 1_000_000; ; n++ {
				select {
				case <-stop:
					return
				default:
				}
				if id := publishUntilConfirmed(f, b, sub, n, stop); id != "" {
					mu.Lock()
					confirmed[id] = true
					mu.Unlock()
				}
			}
		})
	}
	count := func() int { mu.Lock(); defer mu.Unlock(); return len(confirmed) }
	for range 3 {
		before := count()
		f.eventually(func() bool { return count() > before+50 }, "publishers are busy")
		node.Kill(f)
		node.Start(f)
		handled := c.acked()
		f.eventually(func() bool { return c.acked() > handled }, "consuming goes on")
	}
	close(stop)
	f.inTime("publishers", wg.Wait)
	f.eventually(func() bool {
		got := c.ids(func(r run) bool { return r.verdict == ack })
		for id := range confirmed {
			if got[id] == 0 {
				return false
			}
		}
		return true
	}, "all %d confirmed messages are handled", len(confirmed))
	requireKeyOrder(f, c.log())
}

// publishUntilConfirmed sends one message again and again, with the same id,
// until it is confirmed, so that its key's order holds.
func publishUntilConfirmed(f *fixture, b broker.Broker, sub broker.Subscription, n int, stop <-chan struct{}) string {
	for {
		msg := f.message(sub.Topic, n, "k"+string(rune('a'+n/1_000_000)))
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		msg.SetContext(ctx)
		err := b.Publisher().Publish(sub.Topic.Name, msg)
		cancel()
		if err == nil {
			return msg.UUID
		}
		select {
		case <-stop:
			return ""
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// frozenBrokerKeepsPublishDeadline: a broker that has stopped answering holds
// nobody beyond the message's deadline (T7).
func frozenBrokerKeepsPublishDeadline(f *fixture, node *Node) {
	node.Start(f)
	b, sub := f.ready()
	f.publish(b, sub.Topic, f.message(sub.Topic, 0, ""))
	f.Cleanup(func() { node.Thaw(f) }) // whatever happens, before the next test
	node.Freeze(f)
	requireOutcomeUnknown(f, b, sub)
	node.Thaw(f)
	requirePublishes(f, b, sub)
}

// blockedBrokerKeepsPublishDeadline: the same for one that refuses publishes
// for now, which health tells, while consumers go on (T6).
func blockedBrokerKeepsPublishDeadline(f *fixture, node *Node) {
	node.Start(f)
	b, sub := f.ready()
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, 10, 0)...)
	f.Cleanup(func() { node.Unblock(f) })
	node.Block(f)
	requireOutcomeUnknown(f, b, sub)
	f.eventually(func() bool { return b.Health().Blocked != "" }, "health says that it is blocked")
	require.False(f, b.Health().OK())
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.acked() >= 10 }, "consumers go on")
	node.Unblock(f)
	f.eventually(func() bool { return b.Health().OK() }, "health says that it is over")
	requirePublishes(f, b, sub)
}

// requirePublishes: publishing works again, in the end.
func requirePublishes(f *fixture, b broker.Broker, sub broker.Subscription) {
	f.Helper()
	f.eventually(func() bool {
		msg := message.NewMessage(f.prefix+"/again", []byte("{}"))
		ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
		defer cancel()
		msg.SetContext(ctx)
		return b.Publisher().Publish(sub.Topic.Name, msg) == nil
	}, "publishing works again")
}
