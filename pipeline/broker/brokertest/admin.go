package brokertest

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// provisionIsIdempotent: two processes may provision the same at once, and
// again, and nothing that waits is touched.
func provisionIsIdempotent(f *fixture) {
	one, two := f.open(), f.open()
	sub := f.subscription(f.topic())
	lonely := f.topic() // nobody reads it
	topics := []pipeline.Topic{sub.Topic, lonely}
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	var wg sync.WaitGroup
	errs := make([]error, 2)
	for i, b := range []broker.Broker{one, two} {
		wg.Go(func() { errs[i] = b.Provision(ctx, topics, []broker.Subscription{sub}) })
	}
	wg.Wait()
	require.NoError(f, errors.Join(errs...))
	f.publish(one, sub.Topic, f.messages(sub.Topic, 0, 10, 0)...)
	f.publish(one, lonely, f.message(lonely, 0, "")) // kept all the same
	f.provisionTopics(two, topics, sub)
	c := f.consume(two, sub, nil)
	f.eventually(func() bool { return c.acked() == 10 }, "what waited is there")
}

// verifyFindsWhatIsMissing: `provision: verify` makes nothing, says what is
// missing, and is content once it is there.
func verifyFindsWhatIsMissing(f *fixture) {
	b := f.open()
	sub := f.subscription(f.topic())
	verify := sub
	verify.Topic.Provision = pipeline.ProvisionVerify
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	for range 2 {
		err := b.Provision(ctx, []pipeline.Topic{verify.Topic}, []broker.Subscription{verify})
		requireMendable(f, err)
		require.ErrorContains(f, err, sub.Topic.Name)
	}
	f.provision(b, sub)
	require.NoError(f, b.Provision(ctx, []pipeline.Topic{verify.Topic}, []broker.Subscription{verify}))
}

// verifyFindsDrift: `provision: verify` refuses a topic that is there and
// differs.
func verifyFindsDrift(f *fixture) {
	b, sub := f.ready()
	drifted := sub
	drifted.Topic = f.h.Drifted(sub.Topic)
	drifted.Topic.Provision = pipeline.ProvisionVerify
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	err := b.Provision(ctx, []pipeline.Topic{drifted.Topic}, []broker.Subscription{drifted})
	requireMendable(f, err)
	require.ErrorContains(f, err, sub.Topic.Name)
}

// requireMendable: the error is one for the user to mend, not one to wait out.
func requireMendable(f *fixture, err error) {
	f.Helper()
	require.Error(f, err)
	require.NotEqual(f, pipeline.ReasonUnavailable, pipeline.ReasonOf(err), "%v", err)
}

// startOldest: a new subscription begins with the oldest message that is
// there, also where the topic is older than the subscription.
func startOldest(f *fixture) {
	b, first := f.ready()
	f.publish(b, first.Topic, f.messages(first.Topic, 0, 50, 0)...)
	late := f.subscription(first.Topic)
	f.provision(b, late)
	c := f.consume(b, late, nil)
	f.eventually(func() bool { return c.acked() == 50 }, "all that was there is read")
}

// startNewest: a new subscription begins with what is published after it was
// provisioned, and keeps its place from then on.
func startNewest(f *fixture) {
	b, first := f.ready()
	f.publish(b, first.Topic, f.messages(first.Topic, 0, 50, 0)...)
	late := f.subscription(first.Topic, func(s *broker.Subscription) { s.Start.Newest = true })
	f.provision(b, late)
	f.publish(b, first.Topic, f.messages(first.Topic, 50, 60, 0)...) // before it reads
	c := f.consume(b, late, nil)
	f.eventually(func() bool { return c.acked() == 10 }, "what came after is read")
	c.drain()
	for _, r := range c.log() {
		require.GreaterOrEqual(f, r.seq, 50, "a message from before")
	}
	f.publish(b, first.Topic, f.message(first.Topic, 60, "")) // while it is closed
	f.provision(b, late)
	again := f.consume(b, late, nil)
	f.eventually(func() bool { return again.acked() == 1 }, "it keeps its place")
}

// startAtATime: a new subscription begins with the first message at or after
// the time.
func startAtATime(f *fixture) {
	b, first := f.ready()
	f.publish(b, first.Topic, f.messages(first.Topic, 0, 20, 0)...)
	time.Sleep(20 * time.Millisecond) // clocks of messages count in milliseconds
	since := time.Now()
	time.Sleep(20 * time.Millisecond)
	f.publish(b, first.Topic, f.messages(first.Topic, 20, 40, 0)...)
	late := f.subscription(first.Topic, func(s *broker.Subscription) { s.Start.Time = since })
	f.provision(b, late)
	c := f.consume(b, late, nil)
	f.eventually(func() bool { return c.acked() == 20 }, "what came since then is read")
	for _, r := range c.log() {
		require.GreaterOrEqual(f, r.seq, 20, "a message from before")
	}
}

var errEnough = errors.New("enough")

// tailNewestDisturbsNobody: a tail sees what is published after it is ready,
// and the topic's consumer gets the same.
func tailNewestDisturbsNobody(f *fixture) {
	const total = 50
	b, sub := f.ready()
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, 10, 0)...)
	c := f.consume(b, sub, nil)
	ready, ended := make(chan struct{}), make(chan error, 1)
	var seen []string
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	go func() {
		opts := broker.TailOptions{Follow: true, Ready: sync.OnceFunc(func() { close(ready) })}
		ended <- b.Tail(ctx, sub.Topic, opts, func(msg *message.Message) error {
			if seen = append(seen, msg.UUID); len(seen) == total {
				return errEnough
			}
			return nil
		})
	}()
	f.inTime("the tail to be ready", func() { <-ready })
	msgs := f.messages(sub.Topic, 10, 10+total, 0)
	f.publish(b, sub.Topic, msgs...)
	var err error
	f.inTime("Tail", func() { err = <-ended })
	require.ErrorIs(f, err, errEnough)
	var want []string
	for _, msg := range msgs {
		want = append(want, msg.UUID)
	}
	require.Equal(f, want, seen)
	f.eventually(func() bool { return c.acked() == 10+total }, "the consumer gets everything")
	require.Len(f, c.log(), 10+total, "once")
}

// tailOldestShowsWhatIsThere: a tail from the oldest shows what waits, ends at
// the end, and takes nothing away.
func tailOldestShowsWhatIsThere(f *fixture) {
	const total = 30
	b, sub := f.ready()
	msgs := f.messages(sub.Topic, 0, total, 0)
	f.publish(b, sub.Topic, msgs...)
	ctx, cancel := context.WithTimeout(context.Background(), f.patience)
	defer cancel()
	for range 2 {
		var seen []string
		err := b.Tail(ctx, sub.Topic, broker.TailOptions{Oldest: true}, func(msg *message.Message) error {
			seen = append(seen, msg.UUID)
			require.NotEmpty(f, msg.Metadata.Get(metaSeq))
			return nil
		})
		require.NoError(f, err)
		require.Len(f, seen, total)
		require.Equal(f, msgs[0].UUID, seen[0])
	}
	err := b.Tail(ctx, sub.Topic, broker.TailOptions{Oldest: true}, func(*message.Message) error { return errEnough })
	require.ErrorIs(f, err, errEnough)
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.acked() == total }, "nothing was taken away")
	require.Len(f, c.log(), total, "once")
	if f.h.Features.TailOldestIdle {
		require.Error(f, b.Tail(ctx, sub.Topic, broker.TailOptions{Oldest: true},
			func(*message.Message) error { return nil }), "a topic that is being read")
	}
}

// inspectCounts: what waits, and who reads, is told. When nobody reads any
// more, all that is not done is counted as waiting: a topic that moves away
// from the broker relies on it. Who gives up asking leaves nothing behind.
func inspectCounts(f *fixture) {
	b, sub := f.ready()
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, 40, 0)...)
	status := func() broker.Status {
		ctx, cancel := context.WithTimeout(context.Background(), f.patience)
		defer cancel()
		rows, err := b.Inspect(ctx, []pipeline.Topic{sub.Topic}, []broker.Subscription{sub})
		require.NoError(f, err)
		for _, row := range rows {
			if row.Name == sub.Name {
				return row
			}
		}
		require.FailNow(f, "no row of the subscription", "%v", rows)
		return broker.Status{}
	}
	f.eventually(func() bool { return status().Ready == 40 }, "40 wait")
	for i := range 20 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(i)*200*time.Microsecond)
		_, _ = b.Inspect(ctx, []pipeline.Topic{sub.Topic}, []broker.Subscription{sub}) // the race detector looks on
		cancel()
	}
	require.Equal(f, sub.Topic.Name, status().Topic)
	gate := make(chan struct{})
	c := f.consume(b, sub, until(gate))
	f.eventually(func() bool { s := status(); return s.Consumers == 1 || s.Consumers == -1 }, "one reads")
	close(gate)
	f.eventually(func() bool { return c.acked() == 40 }, "all are handled")
	f.eventually(func() bool { s := status(); return s.Ready == 0 && s.InFlight <= 0 }, "nothing waits")
	c.drain()
	f.eventually(func() bool { return status().Consumers == 0 }, "nobody reads")
	require.True(f, b.Health().OK(), "%+v", b.Health())
	require.NotEmpty(f, b.Health().Address)

	f.publish(b, sub.Topic, f.messages(sub.Topic, 40, 50, 0)...)
	c = f.consume(b, sub, leaving)
	f.eventually(func() bool { return len(c.log()) > 0 }, "some are in hand")
	c.close()
	var last broker.Status
	f.eventually(func() bool { last = status(); return last.Consumers == 0 }, "nobody reads")
	require.Equal(f, int64(10), last.Ready, "all are back by then")
}

// commitIsOneStep: where the broker can, a message's outputs and its ack are
// one: both after Commit, neither after a Commit that failed.
func commitIsOneStep(commit commitFunc) func(*fixture) {
	return func(f *fixture) { committed(f, commit) }
}

// commitFunc is one of the ways to commit.
type commitFunc func(ctx context.Context, c broker.Committer, in *message.Message, out []broker.Outgoing) error

func commit(ctx context.Context, c broker.Committer, in *message.Message, out []broker.Outgoing) error {
	return c.Commit(ctx, in, out)
}

func startCommit(ctx context.Context, c broker.Committer, in *message.Message, out []broker.Outgoing) error {
	told := newTold(len(out))
	if !c.StartCommit(ctx, in, out, told) {
		return c.Commit(ctx, in, out)
	}
	return errors.Join(told.wait()...)
}

func committed(f *fixture, commit commitFunc) {
	b, sub := f.ready(ordered(pipeline.OrderingNone, 16))
	committer, ok := b.(broker.Committer)
	if !ok {
		return // nothing is promised
	}
	out := f.subscription(f.topic())
	f.provision(b, out)
	msgs := f.messages(sub.Topic, 0, 10, 0)
	f.publish(b, sub.Topic, msgs...)
	errs := make(chan error, len(msgs))
	c := f.consume(b, sub, func(msg *message.Message) verdict {
		outgoing := []broker.Outgoing{
			{Topic: out.Topic.Name, Message: message.NewMessage(msg.UUID+"/out0", msg.Payload)},
			{Topic: out.Topic.Name, Message: message.NewMessage(msg.UUID+"/out1", msg.Payload)},
		}
		if msg.UUID == msgs[4].UUID {
			outgoing[1].Topic = f.prefix + "-unknown"
		}
		errs <- commit(context.WithoutCancel(msg.Context()), committer, msg, outgoing)
		return leaving(msg) // no ack: Commit must have done it
	})
	failed := 0
	for range msgs {
		f.inTime("Commit", func() {
			if err := <-errs; err != nil {
				failed++
			}
		})
	}
	require.Equal(f, 1, failed, "commits that failed")
	c.close()
	f.closed(b)

	next := f.open()
	outputs := f.consume(next, out, nil)
	f.eventually(func() bool { return outputs.acked() == 18 }, "the outputs of nine are there")
	require.False(f, outputs.has(msgs[4].UUID+"/out0"), "an output of the failed commit")
	requireAgain(f, sub, msgs[4].UUID)
}
