package broker

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
)

// bundleMost is how many messages a bundle has at most.
const bundleMost = 64

// Bundles is the subscription for a reader that takes several messages at a
// time: each message of its Subscribe stands for those that MessagesOf finds in
// it, which are there to run at that moment; none waits for a bundle to be full.
// The reader settles each of them, once, with Settle, and not the bundle. One
// whose context has ended should not begin: the subscription has let go of it.
//
// To Watermill's router a message costs a goroutine, three hand-overs and five
// contexts, which a bundle pays once; and nobody need wait for each to be acked.
func (s *Subscriber) Bundles() message.Subscriber { return bundler{s} }

type bundler struct{ *Subscriber }

// Subscribe implements message.Subscriber.
func (b bundler) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	return b.subscribe(ctx, topic, true)
}

// bundleKey is of the messages of a bundle, in its context: a message has no
// other place for them.
type bundleKey struct{}

func newBundle(msgs []*message.Message) *message.Message {
	bundle := &message.Message{UUID: msgs[0].UUID}
	bundle.SetContext(context.WithValue(context.Background(), bundleKey{}, msgs))
	return bundle
}

func messagesIn(ds []*delivery) []*message.Message {
	msgs := make([]*message.Message, len(ds))
	for i, d := range ds {
		msgs[i] = d.msg
	}
	return msgs
}

// MessagesOf returns the messages of a bundle.
func MessagesOf(bundle *message.Message) []*message.Message {
	msgs, _ := bundle.Context().Value(bundleKey{}).([]*message.Message)
	return msgs
}

// Settle acknowledges a message of a bundle. Not done: it is handed out again
// after a growing pause, or goes back to its broker if its claim ends. Of one
// that its subscription has let go of it does nothing.
func Settle(msg *message.Message, done bool) {
	if d := deliveryOf(msg); d != nil {
		d.claim.w.settle(d, done)
	}
}
