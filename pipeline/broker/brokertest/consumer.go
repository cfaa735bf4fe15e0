package brokertest

import (
	"context"
	"strconv"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// verdict is what a test's handler does with a message.
type verdict int

const (
	ack verdict = iota
	nack
	leave // neither: as a handler that is still at it
)

// run is one time that a message was handed out.
type run struct {
	id      string
	key     string
	seq     int
	payload string
	meta    message.Metadata
	origin  pipeline.Origin
	verdict verdict
	ended   bool
}

// consumer reads a subscription as Watermill's router does, one goroutine a
// message, and writes down what happened.
type consumer struct {
	f    *fixture
	sub  *broker.Subscriber
	done chan struct{} // closed when the channel is closed and all handlers returned

	mu      sync.Mutex
	runs    []*run
	running int
	peak    int // most handlers at a time
	most    int // most messages taken and not settled, as InFlight says
}

// consume subscribes and hands every message to handle; nil: acks at once.
func (f *fixture) consume(b broker.Broker, sub broker.Subscription, handle func(*message.Message) verdict) *consumer {
	f.Helper()
	if handle == nil {
		handle = func(*message.Message) verdict { return ack }
	}
	c := &consumer{f: f, sub: broker.NewSubscriber(sub, b.Source(sub), quiet()), done: make(chan struct{})}
	bundles, err := c.sub.Bundles().Subscribe(context.Background(), sub.Topic.Name)
	require.NoError(f, err)
	f.Cleanup(c.close)
	go c.read(bundles, handle)
	return c
}

func (c *consumer) read(bundles <-chan *message.Message, handle func(*message.Message) verdict) {
	defer close(c.done)
	var handlers sync.WaitGroup
	defer handlers.Wait()
	for bundle := range bundles {
		for _, msg := range broker.MessagesOf(bundle) {
			r := c.begin(msg)
			handlers.Go(func() {
				verdict := handle(msg)
				c.end(r, verdict)
				if verdict != leave {
					broker.Settle(msg, verdict == ack)
				}
			})
		}
	}
}

func (c *consumer) begin(msg *message.Message) *run {
	r := &run{
		id: msg.UUID, key: msg.Metadata.Get(pipeline.MetaPartitionKey), seq: -1,
		payload: string(msg.Payload), meta: msg.Metadata,
	}
	if n, err := strconv.Atoi(msg.Metadata.Get(metaSeq)); err == nil {
		r.seq = n
	}
	if origin := pipeline.OriginOf(msg.Context()); origin != nil {
		r.origin = *origin
	}
	inFlight := c.sub.InFlight()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.runs = append(c.runs, r)
	c.running++
	c.peak, c.most = max(c.peak, c.running), max(c.most, inFlight)
	return r
}

// end is called before the message is settled, so that what follows it in its
// lane cannot begin before.
func (c *consumer) end(r *run, v verdict) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
	r.verdict, r.ended = v, true
}

// close ends the subscription without waiting for what runs. Handlers must
// return when their message's context ends.
func (c *consumer) close() {
	c.f.Helper()
	c.f.inTime("Subscriber.Close", func() { _ = c.sub.Close() })
	c.f.inTime("the consumer's handlers", func() { <-c.done })
}

// drain ends the subscription and requires that nothing was given back.
func (c *consumer) drain() {
	c.f.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), c.f.patience)
	defer cancel()
	require.NoError(c.f, c.sub.Drain(ctx))
	c.f.inTime("the consumer's handlers", func() { <-c.done })
}

// log returns a copy of all runs so far, in the order they began.
func (c *consumer) log() []run {
	c.mu.Lock()
	defer c.mu.Unlock()
	log := make([]run, len(c.runs))
	for i, r := range c.runs {
		log[i] = *r
	}
	return log
}

// running, peaks and most are how many handlers run, ran at most at a time,
// and how many messages were in flight at most.
func (c *consumer) count() (running, peak, most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.running, c.peak, c.most
}

// began counts the different messages that were handed out.
func (c *consumer) began() int { return len(c.ids(func(run) bool { return true })) }

// acked counts the different messages that were acked.
func (c *consumer) acked() int {
	return len(c.ids(func(r run) bool { return r.ended && r.verdict == ack }))
}

// ids returns the different messages of which a run is as which says, with
// how many such runs.
func (c *consumer) ids(which func(run) bool) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	ids := make(map[string]int)
	for _, r := range c.runs {
		if which(*r) {
			ids[r.id]++
		}
	}
	return ids
}

// has reports whether the message was handed out.
func (c *consumer) has(id string) bool {
	return len(c.ids(func(r run) bool { return r.id == id })) > 0
}

// until returns a handler that acks once gate is closed, and leaves the
// message if its context ends before.
func until(gate <-chan struct{}) func(*message.Message) verdict {
	return func(msg *message.Message) verdict {
		select {
		case <-gate:
			return ack
		case <-msg.Context().Done():
			return leave
		}
	}
}

// leaving is a handler that never settles.
func leaving(msg *message.Message) verdict {
	<-msg.Context().Done()
	return leave
}
