package brokertest

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// foreignMessagesHaveStableIDs: a message that came without an id gets one
// that is the same each time it is handed out, and says where it is from. It
// comes again after a nack and after a close, whatever its headers are and
// the broker adds to them (T1, T2).
func foreignMessagesHaveStableIDs(f *fixture) {
	b, sub := f.ready()
	raw := Raw{Payload: []byte(`{"order": 1}`), Headers: f.h.Features.TypedHeaders}
	f.h.PublishRaw(f, sub.Topic, raw)
	runs := 0
	first := f.consume(b, sub, func(msg *message.Message) verdict {
		if runs++; runs == 1 {
			return nack
		}
		return leaving(msg)
	})
	f.eventually(func() bool { return len(first.log()) == 2 }, "it comes, and again after a nack")
	require.Equal(f, first.log()[0].id, first.log()[1].id, "the id after a nack")
	first.close()
	f.closed(b)
	second := f.consume(f.open(), sub, nil)
	f.eventually(func() bool { return second.acked() == 1 }, "it comes again")
	one, two := first.log()[0], second.log()[0]
	require.NotEmpty(f, one.id)
	require.Equal(f, one.id, two.id, "the id of a redelivery")
	require.Equal(f, string(raw.Payload), two.payload)
	require.Contains(f, []string{pipeline.IDSourcePosition, pipeline.IDSourceContent}, two.meta.Get(pipeline.MetaIDSource))
}

// typedHeadersSurviveARoundTrip: headers that the published adapter can't
// carry are there again when the message is published to another topic.
func typedHeadersSurviveARoundTrip(f *fixture) {
	b, in := f.ready()
	out := f.subscription(f.topic())
	f.provision(b, out)
	f.h.PublishRaw(f, in.Topic, Raw{Payload: []byte("typed"), Headers: f.h.Features.TypedHeaders})
	errs := make(chan error, 1)
	f.consume(b, in, func(msg *message.Message) verdict {
		errs <- b.Publisher().Publish(out.Topic.Name, msg.Copy())
		return ack
	})
	var err error
	f.inTime("the message", func() { err = <-errs })
	require.NoError(f, err)
	got := f.h.ReadRaw(f, out)
	require.Equal(f, "typed", string(got.Payload))
	for k, v := range f.h.Features.TypedHeaders {
		require.Equal(f, v, got.Headers[k], "header %q", k)
	}
}

// undecodableArrivesAsBytes: what the published adapter chokes on reaches the
// handler as bytes, with an id, and does not hold up what comes after.
func undecodableArrivesAsBytes(f *fixture) {
	b, sub := f.ready()
	f.h.PublishUndecodable(f, sub.Topic, []byte("\x00 not for you"))
	f.publish(b, sub.Topic, f.message(sub.Topic, 1, ""))
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.acked() == 2 }, "both come")
	for _, r := range c.log() {
		require.NotEmpty(f, r.id)
		if r.seq != 1 {
			require.Equal(f, "\x00 not for you", r.payload)
		}
	}
}

// readsStockPublisher: what a program on the published adapter publishes
// arrives with its id, bytes and metadata.
func readsStockPublisher(f *fixture) {
	b, sub := f.ready()
	stock := f.h.StockPublisher(f, sub.Topic)
	f.Cleanup(func() { _ = stock.Close() })
	sent := f.message(sub.Topic, 0, "key")
	require.NoError(f, stock.Publish(sub.Topic.Name, sent))
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.acked() == 1 }, "it comes")
	got := c.log()[0]
	require.Equal(f, sent.UUID, got.id)
	require.Equal(f, string(sent.Payload), got.payload)
	require.Equal(f, "0", got.meta.Get(metaSeq))
	require.NotContains(f, got.meta, pipeline.MetaIDSource)
}

// isReadByStockSubscriber: a program on the published adapter reads what we
// publish, with its id, bytes and metadata.
func isReadByStockSubscriber(f *fixture) {
	b, sub := f.ready()
	sent := f.message(sub.Topic, 0, "key")
	f.publish(b, sub.Topic, sent)
	stock := f.h.StockSubscriber(f, sub)
	f.Cleanup(func() { _ = stock.Close() })
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	messages, err := stock.Subscribe(ctx, sub.Topic.Name)
	require.NoError(f, err)
	var got *message.Message
	f.inTime("the message", func() { got = <-messages })
	require.NotNil(f, got)
	got.Ack()
	require.Equal(f, sent.UUID, got.UUID)
	require.Equal(f, string(sent.Payload), string(got.Payload))
	require.Equal(f, "0", got.Metadata.Get(metaSeq))
}
