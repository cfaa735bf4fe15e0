package brokertest

import (
	"context"
	"strconv"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// requireAgain opens sub in a new process and requires that exactly the
// messages of want come again; want nil: none does. A sentinel is published
// behind them, and the whole is over when it and all of want were handled.
func requireAgain(f *fixture, sub broker.Subscription, want ...string) {
	f.Helper()
	b := f.open()
	sentinel := f.message(sub.Topic, 1_000_000+int(time.Now().UnixNano()%1_000_000), "")
	f.publish(b, sub.Topic, sentinel)
	c := f.consume(b, sub, nil)
	f.eventually(func() bool {
		acked := c.ids(func(r run) bool { return r.ended && r.verdict == ack })
		for _, id := range want {
			if acked[id] == 0 {
				return false
			}
		}
		return acked[sentinel.UUID] > 0 && c.sub.InFlight() == 0
	}, "the sentinel and %d others come", len(want))
	c.drain()
	got := c.ids(func(run) bool { return true })
	delete(got, sentinel.UUID)
	for _, id := range want {
		delete(got, id)
	}
	require.Empty(f, got, "finished messages that came again")
	f.closed(b)
}

// onlyWhatIsOpenComesAgain: messages are acked out of order around two that
// stay open. After a close without drain those two come again, and nothing
// else: neither what is done below them nor above.
func onlyWhatIsOpenComesAgain(f *fixture) {
	const total = 200
	b, sub := f.ready(ordered(pipeline.OrderingNone, total))
	msgs := f.messages(sub.Topic, 0, total, 0)
	open := map[string]bool{msgs[3].UUID: true, msgs[90].UUID: true}
	f.publish(b, sub.Topic, msgs...)
	gate := make(chan struct{})
	c := f.consume(b, sub, func(msg *message.Message) verdict {
		if open[msg.UUID] {
			return leaving(msg)
		}
		// The upper half first, so that acks come out of order.
		if n, _ := strconv.Atoi(msg.Metadata.Get(metaSeq)); n < total/2 {
			return until(gate)(msg)
		}
		return ack
	})
	f.eventually(func() bool { return c.acked() == total/2 }, "the upper half is acked")
	close(gate)
	// In flight counts what the subscription has not seen settled: an ack that
	// comes as it closes may be late.
	f.eventually(func() bool { return c.acked() == total-2 && c.sub.InFlight() == 2 }, "all but two are acked")
	c.close()
	f.closed(b)
	requireAgain(f, sub, msgs[3].UUID, msgs[90].UUID)
}

// drainKeepsWhatIsDone: 256 handlers run when the drain begins, and each acks
// its message singly. None of them comes again, in round after round.
func drainKeepsWhatIsDone(f *fixture) {
	const total = 256
	rounds := 10
	if testing.Short() {
		rounds = 4
	}
	sub := f.subscription(f.topic(), ordered(pipeline.OrderingNone, total))
	for round := range rounds {
		b := f.open()
		f.provision(b, sub)
		f.publish(b, sub.Topic, f.messages(sub.Topic, round*total, (round+1)*total, 0)...)
		gate := make(chan struct{})
		c := f.consume(b, sub, until(gate))
		f.eventually(func() bool { running, _, _ := c.count(); return running == total }, "all run")
		var err error
		drained := make(chan error, 1)
		ctx, cancel := context.WithTimeout(context.Background(), f.patience)
		go func() { drained <- c.sub.Drain(ctx) }()
		close(gate)
		f.inTime("Drain", func() { err = <-drained })
		cancel()
		require.NoError(f, err)
		require.Equal(f, total, c.acked())
		f.closed(b)
		requireAgain(f, sub)
	}
}

// drainWaitsForHandlers: a drain lets what runs finish with a live context and
// an open publisher, begins nothing more, and gives the rest back.
func drainWaitsForHandlers(f *fixture) {
	b, sub := f.ready(ordered(pipeline.OrderingNone, 4))
	out := f.subscription(f.topic())
	f.provision(b, out)
	msgs := f.messages(sub.Topic, 0, 20, 0)
	f.publish(b, sub.Topic, msgs...)
	gate := make(chan struct{})
	c := f.consume(b, sub, until(gate))
	f.eventually(func() bool { return c.began() == 4 && c.sub.InFlight() == 20 }, "four run, the rest waits")

	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	var err error
	drained := make(chan error, 1)
	go func() { drained <- c.sub.Drain(ctx) }()
	time.Sleep(still)
	select {
	case err = <-drained:
		require.FailNow(f, "drain did not wait for its handlers", "it returned %v", err)
	default:
	}
	running, _, _ := c.count()
	require.Equal(f, 4, running, "handlers whose context is live while the drain waits")
	f.publish(b, out.Topic, f.message(out.Topic, 0, ""))
	close(gate)
	f.inTime("Drain", func() { err = <-drained })
	require.NoError(f, err)

	done := c.ids(func(r run) bool { return r.verdict == ack })
	require.Len(f, done, 4, "messages that began")
	f.closed(b)
	var rest []string
	for _, msg := range msgs {
		if done[msg.UUID] == 0 {
			rest = append(rest, msg.UUID)
		}
	}
	requireAgain(f, sub, rest...)
}

// drainGivesBackInTime: when the time is up, a drain ends the contexts of what
// runs with pipeline.ErrStopping, returns an error, and the message comes
// again.
func drainGivesBackInTime(f *fixture) {
	b, sub := f.ready()
	msgs := f.messages(sub.Topic, 0, 10, 0)
	f.publish(b, sub.Topic, msgs...)
	cause := make(chan error, 1)
	stuck := msgs[5].UUID
	c := f.consume(b, sub, func(msg *message.Message) verdict {
		if msg.UUID != stuck {
			return ack
		}
		<-msg.Context().Done()
		cause <- context.Cause(msg.Context())
		return leave
	})
	f.eventually(func() bool { return c.acked() == 9 && c.has(stuck) }, "one is stuck")
	ctx, cancel := context.WithTimeout(context.Background(), still)
	defer cancel()
	var err error
	f.inTime("Drain", func() { err = c.sub.Drain(ctx) })
	require.ErrorIs(f, err, context.DeadlineExceeded)
	require.ErrorContains(f, err, "1 messages")
	f.inTime("the handler", func() { err = <-cause })
	require.ErrorIs(f, err, pipeline.ErrStopping)
	f.closed(b)
	requireAgain(f, sub, stuck)
}

// closeWithBacklog: Close and a cancelled context end a subscription at once,
// without a panic, whether handlers run or nobody reads, and nothing is lost.
func closeWithBacklog(f *fixture) {
	const total = 500
	b, sub := f.ready()
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, total, 0)...)
	for range 3 {
		c := f.consume(b, sub, leaving)
		f.eventually(func() bool { running, _, _ := c.count(); return running == sub.Concurrency }, "handlers run")
		c.close()
		c.close() // again
	}
	for _, cancelled := range []bool{true, false} { // nobody reads
		s := broker.NewSubscriber(sub, b.Source(sub), quiet())
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		messages, err := s.Subscribe(ctx, sub.Topic.Name)
		require.NoError(f, err)
		f.eventually(func() bool { return s.InFlight() > 0 }, "messages are taken")
		if cancelled {
			cancel()
		} else {
			f.inTime("Subscriber.Close", func() { _ = s.Close() })
		}
		f.inTime("the message channel", func() {
			for range messages { // until it is closed
			}
		})
		f.inTime("Subscriber.Close", func() { _ = s.Close() })
	}
	never := broker.NewSubscriber(sub, b.Source(sub), quiet())
	require.NoError(f, never.Close(), "close of a subscriber that never began")
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.acked() == total }, "nothing is lost")
}
