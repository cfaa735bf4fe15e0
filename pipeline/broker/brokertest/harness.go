package brokertest

import (
	"testing"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Harness is what the suite needs of a driver's tests. Function fields that
// say so may be nil.
type Harness struct {
	Features Features

	// Open opens the driver on the broker under test, as another process
	// would: nothing is shared with the values opened before. It returns at
	// once. The suite closes what it opened, maybe twice.
	Open func(t testing.TB, opts broker.Options) broker.Broker

	// Node makes a node of the broker for one group of tests to kill, not
	// started yet. Needed of a Server, else nil.
	Node func(t testing.TB) *Node

	// Remove deletes topics and subscriptions that a test has made, as far as
	// they exist. Nil: they may stay.
	Remove func(t testing.TB, topics []pipeline.Topic, subs []broker.Subscription)

	// Cut takes the place where the subscription's messages wait away from
	// under its consumer (RabbitMQ: deletes the queue; Kafka: deletes the
	// topic and makes it again). Nil: it can't be done.
	Cut func(t testing.TB, sub broker.Subscription)

	// Drifted returns the topic with one setting that differs from what
	// Provision has made of it. Nil: the broker keeps no settings.
	Drifted func(topic pipeline.Topic) pipeline.Topic

	// PublishRaw sends a message to the topic as a client would that knows
	// nothing of Watermill: no id, no key, no headers but raw's. Needed of a
	// Server, else nil.
	PublishRaw func(t testing.TB, topic pipeline.Topic, raw Raw)

	// ReadRaw takes the next message that waits for sub, as such a client
	// sees it, waiting for one if need be. Needed of a Server, else nil.
	ReadRaw func(t testing.TB, sub broker.Subscription) Raw

	// PublishUndecodable sends a message with this payload that the published
	// adapter's unmarshaler refuses. Needed of a Server, else nil.
	PublishUndecodable func(t testing.TB, topic pipeline.Topic, payload []byte)

	// StockPublisher and StockSubscriber return the published Watermill
	// adapter's ends of the topic and the subscription. The suite closes
	// them. Needed of a Server, else nil.
	StockPublisher  func(t testing.TB, topic pipeline.Topic) message.Publisher
	StockSubscriber func(t testing.TB, sub broker.Subscription) message.Subscriber
}

// Features are what brokers differ in by their nature.
type Features struct {
	// Name of the driver; it begins the names of the tests' topics.
	Name string
	// Server: the broker is a program of its own, which other clients use too
	// and which can be away.
	Server bool
	// Log: messages stay after they were read, so that a new subscription can
	// begin with older ones, or at a time.
	Log bool
	// Partitions is how many partitions a topic gets in tests that want
	// several. 0: the driver's default.
	Partitions int
	// OneReader: one instance at a time reads a subscription, whatever its
	// ordering, and the others stand by.
	OneReader bool
	// SharesPartition: with `ordering: none`, instances share the messages of
	// one partition or queue. Without it they share partitions.
	SharesPartition bool
	// TailOldestIdle: Tail can show old messages only of a topic that nobody
	// reads.
	TailOldestIdle bool
	// MaxMessage is the size of a payload that the broker itself is sure to
	// refuse, in bytes. 0: there is none that a test can make.
	MaxMessage int
	// TypedHeaders is an example of headers as foreign producers set them,
	// which the published adapter can't carry or loses.
	TypedHeaders map[string]any
	// ForceShort keeps Watermill's suite small also without -short.
	ForceShort bool
}

// Raw is a message as a foreign client sees it.
type Raw struct {
	Payload []byte
	Headers map[string]any // values as the broker's client library has them
}

// Node is a broker that a test may kill. Its functions return when what they
// say is so; they may be called again and again.
type Node struct {
	Open    func(t testing.TB, opts broker.Options) broker.Broker // as Harness.Open
	Start   func(t testing.TB)                                    // returns when it accepts connections
	Kill    func(t testing.TB)                                    // as SIGKILL
	Freeze  func(t testing.TB)                                    // as SIGSTOP
	Thaw    func(t testing.TB)                                    // as SIGCONT
	Block   func(t testing.TB)                                    // has it refuse publishes for now; nil: it never does
	Unblock func(t testing.TB)                                    // undoes Block; nil with it

	// RestartCommand kills the node and starts it again, for Watermill's
	// TestReconnect. Empty: that test is not run.
	RestartCommand []string
}

// check fails the test if the harness lacks what its features ask for.
func (h Harness) check(t testing.TB) {
	t.Helper()
	require.NotEmpty(t, h.Features.Name, "Features.Name")
	require.NotNil(t, h.Open, "Harness.Open")
	if !h.Features.Server {
		return
	}
	require.NotNil(t, h.Node, "Harness.Node is needed of a server")
	require.NotNil(t, h.PublishRaw, "Harness.PublishRaw is needed of a server")
	require.NotNil(t, h.ReadRaw, "Harness.ReadRaw is needed of a server")
	require.NotNil(t, h.PublishUndecodable, "Harness.PublishUndecodable is needed of a server")
	require.NotNil(t, h.StockPublisher, "Harness.StockPublisher is needed of a server")
	require.NotNil(t, h.StockSubscriber, "Harness.StockSubscriber is needed of a server")
	require.NotEmpty(t, h.Features.TypedHeaders, "Features.TypedHeaders is needed of a server")
}
