package rabbitbroker

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// TestPublish_MoreThanMayBeInFlight: one call with more messages than fit.
func TestPublish_MoreThanMayBeInFlight(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("out", nil)
	f.provision()
	msgs := make([]*message.Message, maxFlight+1000)
	for i := range msgs {
		msgs[i] = text(fmt.Sprint(i), "x")
	}
	f.mustPublish(topic, msgs...)
	require.Equal(t, len(msgs), f.ready(topic.Name))
	require.Equal(t, "0", f.take(topic.Name).MessageId, "in order")
}

// TestPublish_TooLarge: metadata over the frame's size, and bodies over the
// limit that the broker turns out to have, are errors of their own; the others
// are published.
func TestPublish_TooLarge(t *testing.T) {
	t.Parallel()
	n := startNode(t)
	f := setupOn(t, n.server)
	topic := f.topic("out", func(t *pipeline.Topic) { t.MaxMessage = 1 << 30 })
	f.provision()
	require.Contains(t, n.out(t, "ctl", n.dir, "eval", "application:set_env(rabbit, max_message_size, 50000)."), "ok")
	for _, large := range []*message.Message{text("body", strings.Repeat("x", 60_000)), text("meta", "x")} {
		if large.UUID == "meta" {
			large.Metadata.Set("stack", strings.Repeat("x", 200_000))
		}
		before := f.ready(topic.Name)
		var msgs []*message.Message
		for i := range 100 {
			msgs = append(msgs, text(fmt.Sprint(i), "x"))
		}
		msgs[50] = large
		for i, err := range f.publish(topic, msgs...) {
			if i != 50 {
				require.NoError(t, err, i)
				continue
			}
			require.Equal(t, pipeline.ReasonTooLarge, pipeline.ReasonOf(err), "%v", err)
			require.True(t, pipeline.IsPermanent(err))
		}
		require.GreaterOrEqual(t, f.ready(topic.Name), before+99)
	}
}

// TestPublish_NotAllowed: what the user may not write to is an error for good.
func TestPublish_NotAllowed(t *testing.T) {
	t.Parallel()
	s := shared(t)
	user := newUser(t, s)
	f := setupOn(t, user)
	good, bad := f.topic("good", nil), f.topic("bad", nil)
	f.provision()
	u, err := url.Parse(user.url)
	require.NoError(t, err)
	s.allow(t, u.User.Username(), ".*", ".*good", ".*")
	for range 3 {
		err := f.publish(bad, text("m", "x"))[0]
		require.Equal(t, pipeline.ReasonUnroutable, pipeline.ReasonOf(err), "%v", err)
		require.True(t, pipeline.IsPermanent(err))
		require.ErrorContains(t, err, "ACCESS_REFUSED")
		f.mustPublish(good, text("m", "x"))
	}
	require.Equal(t, 1, strings.Count(f.log.String(), "channel lost"), "the channel was lost once")
}

// TestPublish_QueueFull: a broker that refuses for now is tried until the
// deadline.
func TestPublish_QueueFull(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.narrow()
	f.mustPublish(topic, text("a", "x"))
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	msg := text("b", "x")
	msg.SetContext(ctx)
	err := f.b.Publisher().Publish(topic.Name, msg)
	require.Equal(t, pipeline.ReasonTimeout, pipeline.ReasonOf(err))
	require.ErrorContains(t, err, "the queue may be full")
	later := make(chan error, 1)
	go func() { later <- f.b.Publisher().Publish(topic.Name, text("c", "x")) }()
	require.Equal(t, "a", f.take(topic.Name).MessageId)
	require.NoError(t, <-later)
}

// TestPublish_CopiesNothing: a received CC header does not route once more.
func TestPublish_CopiesNothing(t *testing.T) {
	t.Parallel()
	f := setup(t)
	one := f.topic("one", func(t *pipeline.Topic) { t.Rabbit.Exchange = ptr("") })
	two := f.topic("two", func(t *pipeline.Topic) { t.Rabbit.Exchange = ptr("") })
	f.provision()
	msg := text("m", "x")
	msg.Metadata.Set("CC", `["`+two.Name+`"]`)
	f.mustPublish(one, msg)
	require.Equal(t, `["`+two.Name+`"]`, f.take(one.Name).Headers[metaCC])
	require.Zero(t, f.ready(two.Name))
}

// TestPublish_Closed: a closed broker says so.
func TestPublish_Closed(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("out", nil)
	f.provision()
	require.NoError(t, f.b.Close())
	require.NoError(t, f.b.Close(), "again")
	err := f.publish(topic, text("m", "x"))[0]
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err), "%v", err)
	require.ErrorContains(t, f.b.Provision(f.ctx(), f.all(), nil), "closed")
}
