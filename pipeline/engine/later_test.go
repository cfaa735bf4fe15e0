package engine

import (
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// slowBroker begins to publish and confirms when the test does.
type slowBroker struct {
	*fake
	begun chan pipeline.Confirmer
}

func (s *slowBroker) Start(_ string, _ *message.Message, to pipeline.Confirmer, _ int) bool {
	s.begun <- to
	return true
}

// slow makes the rig's broker a slow one. Before start.
func (r *rig) slow() *slowBroker {
	s := &slowBroker{fake: r.fake, begun: make(chan pipeline.Confirmer, 100)}
	r.opts.Brokers["main"] = s
	return s
}

// TestLater: a message is acknowledged when its outputs are confirmed, and not
// before; no goroutine waits for that, and no other message but those behind it.
func TestLater(t *testing.T) {
	t.Parallel()

	t.Run("a message is acknowledged when its outputs are confirmed", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, nil)
		s := r.slow()
		r.start(t)
		r.send("one")
		first := <-s.begun
		r.send("two")
		second := <-s.begun
		require.Empty(t, r.fake.acked)
		require.Equal(t, 2, r.State().Handlers[0].InFlight)
		first.Confirmed(0, nil)
		require.Equal(t, "one", <-r.fake.acked)
		second.Confirmed(0, nil)
		require.Equal(t, "two", <-r.fake.acked)
	})

	t.Run("more are in flight than there are workers", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, func(h *pipeline.Handler) { h.InFlight = 64 })
		s := r.slow()
		r.start(t)
		var to []pipeline.Confirmer
		for i := range 64 {
			r.send(string(rune('0' + i)))
			to = append(to, <-s.begun)
		}
		require.Eventually(t, func() bool { // a worker that waited for a confirm would not be idle
			r.workers.mu.Lock()
			defer r.workers.mu.Unlock()
			return len(r.workers.idle) > 0
		}, soon, time.Millisecond)
		for _, one := range to {
			one.Confirmed(0, nil)
		}
		for range 64 {
			<-r.fake.acked
		}
	})

	t.Run("the next of a key begins when the one before it is confirmed", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, func(h *pipeline.Handler) { h.Ordering = pipeline.OrderingKey })
		s := r.slow()
		r.start(t)
		keyed := func(id string) *message.Message {
			msg := message.NewMessage(id, nil)
			msg.Metadata.Set(pipeline.MetaPartitionKey, "k")
			return msg
		}
		r.fake.in <- keyed("first")
		first := <-s.begun
		r.fake.in <- keyed("second")
		r.send("other")
		other := <-s.begun
		other.Confirmed(0, nil)
		require.Equal(t, "other", <-r.fake.acked)
		require.Empty(t, s.begun, "the second waits")
		first.Confirmed(0, nil)
		require.Equal(t, "first", <-r.fake.acked)
		(<-s.begun).Confirmed(0, nil)
		require.Equal(t, "second", <-r.fake.acked)
	})

	t.Run("what was not confirmed is published again before it is acknowledged", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, nil)
		s := r.slow()
		r.start(t)
		r.send("one")
		(<-s.begun).Confirmed(0, errNotBegun)
		require.Equal(t, "one", <-r.fake.acked)
		require.Len(t, r.fake.on("out"), 1)
	})

	t.Run("a panic of what publishes is the message's death and not the process's", func(t *testing.T) {
		t.Parallel()
		r := newRig(t, pass, nil)
		r.opts.Brokers["main"] = panicking{r.fake}
		r.start(t)
		r.send("one")
		require.Equal(t, "one", <-r.fake.acked)
		require.Len(t, r.fake.on("in.work.dlq"), 1)
	})
}

// connecting is a broker that tells when it is to connect.
type connecting struct {
	*fake
	asked chan string
}

func (c connecting) Publisher() message.Publisher { return c }

func (c connecting) Publish(topic string, msgs ...*message.Message) error {
	if len(msgs) == 0 {
		c.asked <- topic
	}
	return c.fake.Publish(topic, msgs...)
}

// TestConnect: who publishes connects before topics are made, and so before
// anything is read.
func TestConnect(t *testing.T) {
	t.Parallel()
	r := newRig(t, pass, nil)
	asked, before := make(chan string, 1), make(chan int, 1)
	r.opts.Brokers["main"] = connecting{r.fake, asked}
	r.fake.provision = func() error {
		before <- len(asked)
		return nil
	}
	r.start(t)
	require.Equal(t, 1, <-before)
	require.Equal(t, "out", <-asked)
}

// panicking is a broker that no output can be published to.
type panicking struct{ *fake }

func (p panicking) Publisher() message.Publisher { return p }

func (p panicking) Start(string, *message.Message, pipeline.Confirmer, int) bool { panic("broken") }

func (p panicking) Publish(topic string, msgs ...*message.Message) error {
	if topic == "out" && len(msgs) > 0 {
		panic("broken")
	}
	return p.fake.Publish(topic, msgs...)
}
