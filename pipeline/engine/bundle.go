package engine

import (
	"context"
	"runtime"

	"github.com/ThreeDotsLabs/watermill/message"
)

// bundleMost is how many messages go through the router as one.
const bundleMost = 64

// bundled has the router take several messages at a time: those that wait for
// it anyway become one message of its own, whose handler runs each. To the
// router a message costs a goroutine, three hand-overs and five contexts, which
// a bundle pays once. Each message is still settled by itself, as soon as it is
// done, and nobody waits for a bundle to be full.
type bundled struct{ message.Subscriber }

// Subscribe implements message.Subscriber.
func (b bundled) Subscribe(ctx context.Context, topic string) (<-chan *message.Message, error) {
	in, err := b.Subscriber.Subscribe(ctx, topic)
	if err != nil {
		return nil, err
	}
	out := make(chan *message.Message)
	go bundle(in, out) // until in is closed; the router waits for out to be
	return out, nil
}

func bundle(in <-chan *message.Message, out chan<- *message.Message) {
	defer close(out)
	for first := range in {
		for msgs := gather(first, in); len(msgs) > 0; {
			select {
			case out <- newBundle(msgs):
				msgs = nil
			case <-msgs[0].Context().Done(): // its subscription has let go of it
				msgs = msgs[1:]
			}
		}
	}
}

// gather takes what waits. Before it says that nothing does, it lets run who is
// about to hand over.
func gather(first *message.Message, in <-chan *message.Message) []*message.Message {
	msgs := []*message.Message{first}
	for yielded := false; len(msgs) < bundleMost; {
		select {
		case msg, open := <-in:
			if !open {
				return msgs
			}
			msgs, yielded = append(msgs, msg), false
			continue
		default:
		}
		if yielded {
			break
		}
		runtime.Gosched()
		yielded = true
	}
	return msgs
}

// bundleKey is of the messages of a bundle, in its context: a message has no
// other place for them.
type bundleKey struct{}

func newBundle(msgs []*message.Message) *message.Message {
	return message.NewMessageWithContext(context.WithValue(context.Background(), bundleKey{}, msgs), msgs[0].UUID, nil)
}

func messagesOf(bundle *message.Message) []*message.Message {
	msgs, _ := bundle.Context().Value(bundleKey{}).([]*message.Message)
	return msgs
}
