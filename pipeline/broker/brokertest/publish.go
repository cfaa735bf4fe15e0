package brokertest

import (
	"context"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// confirmedIsDurable: what many publishers at once had confirmed is there for
// a process that comes later.
func confirmedIsDurable(f *fixture) {
	const publishers, each = 8, 100
	b, sub := f.ready()
	var wg sync.WaitGroup
	errs := make([]error, publishers)
	for p := range publishers {
		wg.Go(func() {
			msgs := f.messages(sub.Topic, p*each, (p+1)*each, 0)
			errs[p] = b.Publisher().Publish(sub.Topic.Name, msgs...)
		})
	}
	wg.Wait()
	for _, err := range errs {
		require.NoError(f, err)
	}
	f.closed(b)
	c := f.consume(f.open(), sub, nil)
	f.eventually(func() bool { return c.acked() == publishers*each }, "all are there")
}

// messagesArriveAsSent: id, bytes and metadata are those that were published,
// whatever they are, and the message says where it was read. Publishing does
// not change the message.
func messagesArriveAsSent(f *fixture) {
	b, sub := f.ready()
	binary := make([]byte, 1<<16)
	for i := range binary {
		binary[i] = byte(i * 7)
	}
	payloads := [][]byte{[]byte("{\"a\" : 1.0 }\n"), {}, {0}, binary, []byte("æ\xff\xfe")}
	var sent []*message.Message
	for i, payload := range payloads {
		msg := f.message(sub.Topic, i, "key of "+string(rune('a'+i)))
		msg.Payload = payload
		msg.Metadata.Set("empty", "")
		msg.Metadata.Set("Mixed-Case_and.dots", "Ærlig – \"quoted\"\nline")
		msg.Metadata.Set("long", strings.Repeat("x", 8<<10))
		msg.Metadata.Set(pipeline.MetaCorrelationID, "c-1")
		msg.Metadata.Set(pipeline.MetaContentType, "application/json")
		sent = append(sent, msg)
	}
	before := message.Metadata{}
	for k, v := range sent[0].Metadata {
		before[k] = v
	}
	f.publish(b, sub.Topic, sent...)
	require.Equal(f, before, sent[0].Metadata, "Publish does not change metadata")

	c := f.consume(f.open(), sub, nil)
	f.eventually(func() bool { return c.acked() == len(sent) }, "all come")
	for _, r := range c.log() {
		require.GreaterOrEqual(f, r.seq, 0)
		want := sent[r.seq]
		require.Equal(f, want.UUID, r.id)
		require.Equal(f, string(want.Payload), r.payload, "bytes are sacred")
		for k, v := range want.Metadata {
			got, there := r.meta[k]
			require.True(f, there, "metadata %q", k)
			require.Equal(f, v, got, "metadata %q", k)
		}
		require.NotContains(f, r.meta, pipeline.MetaIDSource)
		require.Equal(f, sub.Topic.Name, r.origin.Topic)
		require.Equal(f, sub.Name, r.origin.Group)
	}
}

// unknownTopicIsAnError: a topic that the config does not know is unroutable
// for good, and says so for each message.
func unknownTopicIsAnError(f *fixture) {
	b := f.open()
	topic := pipeline.Topic{Name: f.prefix + "-unknown"}
	for _, err := range f.publishErrors(b, topic.Name, f.messages(topic, 0, 3, 0)...) {
		require.Error(f, err)
		require.Equal(f, pipeline.ReasonUnroutable, pipeline.ReasonOf(err), "%v", err)
		require.True(f, pipeline.IsPermanent(err), "%v", err)
		require.ErrorContains(f, err, topic.Name)
	}
}

// unprovisionedTopicLosesNothing: publishing to a topic of the config before
// anybody has made it either fails or keeps the message.
func unprovisionedTopicLosesNothing(f *fixture) {
	b := f.open()
	sub := f.subscription(f.topic())
	msg := f.message(sub.Topic, 0, "")
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	msg.SetContext(ctx)
	errs := f.publishErrors(b, sub.Topic.Name, msg)
	f.provision(b, sub)
	if errs[0] != nil {
		f.publish(b, sub.Topic, msg)
	}
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.has(msg.UUID) }, "a message that was reported as published (%v)", errs[0])
}

// tooLargeIsAnErrorOfItsOwn: in a large batch the messages over the topic's
// max_message fail, each with its own error; the others are published.
func tooLargeIsAnErrorOfItsOwn(f *fixture) {
	const total = 300
	b := f.open()
	sub := f.subscription(f.topic(func(t *pipeline.Topic) { t.MaxMessage = 4 << 10 }))
	f.provision(b, sub)
	msgs := f.messages(sub.Topic, 0, total, 0)
	for i, msg := range msgs {
		if i%100 == 50 {
			msg.Payload = make([]byte, 5<<10)
		}
	}
	requireTooLarge(f, b, sub, msgs)
}

// brokersOwnLimitIsTooLarge: the same for the limit of the broker itself,
// which must not take the connection with it.
func brokersOwnLimitIsTooLarge(f *fixture) {
	b, sub := f.ready()
	msgs := f.messages(sub.Topic, 0, 20, 0)
	msgs[7].Payload = make([]byte, f.h.Features.MaxMessage)
	requireTooLarge(f, b, sub, msgs)
}

func requireTooLarge(f *fixture, b broker.Broker, sub broker.Subscription, msgs []*message.Message) {
	f.Helper()
	small := 0
	for i, err := range f.publishErrors(b, sub.Topic.Name, msgs...) {
		if len(msgs[i].Payload) < 4<<10 {
			small++
			require.NoError(f, err, "message %d", i)
			continue
		}
		require.Error(f, err, "message %d", i)
		require.Equal(f, pipeline.ReasonTooLarge, pipeline.ReasonOf(err), "%v", err)
		require.True(f, pipeline.IsPermanent(err), "%v", err)
	}
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.acked() == small }, "the others are published")
}

// expiredContextIsATimeout: a message whose deadline has passed fails with
// reason timeout, and the others of its batch don't.
func expiredContextIsATimeout(f *fixture) {
	b, sub := f.ready()
	msgs := f.messages(sub.Topic, 0, 3, 0)
	ctx, cancel := context.WithDeadline(context.Background(), time.Now().Add(-time.Second))
	defer cancel()
	msgs[1].SetContext(ctx)
	errs := f.publishErrors(b, sub.Topic.Name, msgs...)
	require.NoError(f, errs[0])
	require.NoError(f, errs[2])
	require.Error(f, errs[1])
	require.Equal(f, pipeline.ReasonTimeout, pipeline.ReasonOf(errs[1]), "%v", errs[1])
	require.False(f, pipeline.IsPermanent(errs[1]), "%v", errs[1])
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.has(msgs[0].UUID) && c.has(msgs[2].UUID) }, "the others are published")
}

// closeWhilePublishing: closing the broker under its publishers lets every
// Publish return, and all that was confirmed is there.
func closeWhilePublishing(f *fixture) {
	b, sub := f.ready()
	var mu sync.Mutex
	var confirmed []string
	var wg sync.WaitGroup
	for p := range 8 {
		wg.Go(func() {
			for n := p * 100_000; ; n++ {
				msg := f.message(sub.Topic, n, "")
				if b.Publisher().Publish(sub.Topic.Name, msg) != nil {
					return
				}
				mu.Lock()
				confirmed = append(confirmed, msg.UUID)
				mu.Unlock()
			}
		})
	}
	f.eventually(func() bool { mu.Lock(); defer mu.Unlock(); return len(confirmed) > 100 }, "publishers are busy")
	f.closed(b)
	f.inTime("Publish on a closed broker", wg.Wait)

	c := f.consume(f.open(), sub, nil)
	f.eventually(func() bool {
		got := c.ids(func(run) bool { return true })
		for _, id := range confirmed {
			if got[id] == 0 {
				return false
			}
		}
		return true
	}, "all %d that were confirmed are there", len(confirmed))
}
