package brokertest

import "go.uber.org/goleak"

// Leaks returns what goleak is to overlook in a package that runs Exercise:
// goroutines that Watermill's own suite leaves behind. One waits to hand on a
// message that came again after its test had what it wanted.
func Leaks() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/pubsub/tests.TestReconnect.func2"),
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe.func2"),
		goleak.IgnoreAnyFunction("github.com/ThreeDotsLabs/watermill/internal/subscriber.(*multiplier).Subscribe.func3"),
	}
}
