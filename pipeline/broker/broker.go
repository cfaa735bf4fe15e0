package broker

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Broker is one broker of the config. All its methods may be called by many
// goroutines at once. A driver's Open returns one without waiting for the
// broker to be there: everything reconnects by itself, for ever, with
// jittered backoff, and Health says how it stands.
type Broker interface {
	// Publisher returns the publisher that all share. Its Publish sends the
	// messages with many in flight and returns once each is confirmed durable
	// by the broker or has failed. It honours the deadline of each message's
	// context: when that passes the outcome is unknown, the error is
	// pipeline.ReasonTimeout, and the caller may send the same id again.
	//
	// The error is nil or a *PublishError with one entry a message. Entries
	// carry a pipeline.Reason: unroutable and too_large are permanent;
	// unavailable and timeout are worth another try. A message that reached
	// no queue is never reported as published.
	//
	// Publish does not change the messages. With none it begins to connect, and
	// waits for nothing. Its Close is a no-op: Broker.Close closes it.
	Publisher() message.Publisher

	// Start begins to publish a message, and returns. to is told once, under the
	// number that goes with it, whether it was confirmed; mostly from another
	// goroutine, and maybe long after the message's context has ended. An error
	// says that the message may be published or not. False: it was not begun, for
	// whatever reason: Publish says.
	Start(topic string, msg *message.Message, to pipeline.Confirmer, number int) bool

	// Source returns the driver's end of a subscription, for NewSubscriber.
	// It does not touch the network.
	Source(Subscription) Source

	Admin

	// Close closes publisher and connections. Subscribers must be closed
	// before. It is idempotent and waits for every goroutine of the driver.
	Close() error
}

// ErrMissing is in the error of a Provision that does not find what it may
// not make.
var ErrMissing = errors.New("not there")

// Admin is what the command line, the API and the engine ask of a broker
// beside moving messages.
type Admin interface {
	// Provision makes the topics and subscriptions exist, as each topic's
	// Provision says: create what is missing, verify it, or leave it. Topics
	// that no subscription reads get a place to be kept all the same, so that
	// nothing published to them is lost (RabbitMQ: a queue of the topic's
	// name unless `queue: none`). It is idempotent. An error with
	// pipeline.ReasonUnavailable may pass; any other is for the user to mend
	// and names what was found, what was wanted and the next step. It wraps
	// ErrMissing where nothing was found.
	Provision(ctx context.Context, topics []pipeline.Topic, subs []Subscription) error

	// Inspect reports on the topics and subscriptions given: what waits, who
	// reads, what is wrong (rows 2-10, 2-11, 2-30).
	Inspect(ctx context.Context, topics []pipeline.Topic, subs []Subscription) ([]Status, error)

	// Tail calls f with the topic's messages, and disturbs no consumer. It
	// returns when f returns an error (that error), ctx is done (its error),
	// or, with Oldest, the end of what is there was reached and opts.Follow
	// is off (nil). A broker that cannot look without disturbing says why.
	Tail(ctx context.Context, topic pipeline.Topic, opts TailOptions, f func(*message.Message) error) error

	// Health returns the state as last seen. It does not wait.
	Health() Health
}

// TailOptions say what Tail shows.
type TailOptions struct {
	Oldest bool   // begin with the oldest message that is there; else only new ones
	Follow bool   // with Oldest: go on with new ones
	Ready  func() // called once when no message published from now on can be missed; may be nil
}

// Subscription is what a handler reads: design §3, Names.
type Subscription struct {
	Name          string // [group_prefix]<topic>.<handler>
	Handler       string
	Topic         pipeline.Topic
	Ordering      pipeline.Ordering
	Concurrency   int   // handlers running at a time; at least 1
	InFlight      int   // messages taken and not yet settled; at least Concurrency
	InFlightBytes int64 // the same in bytes of payload; 0: no bound
	Start         pipeline.Start
	Instance      string // this process among others, stable over restarts
	Leftover      bool   // it is read on a broker that its topic moves away from: not to be made, whatever Topic.Provision says
}

// Status is one line of Inspect.
type Status struct {
	Name      string   // the subscription, or the topic where nobody reads it
	Topic     string   //
	Ready     int64    // messages that wait; -1: not known
	InFlight  int64    // handed out and not acknowledged; -1: not known
	Consumers int      // who reads it now, in all processes; -1: not known
	Bindings  []string // where its messages come from, as the broker says
	Problems  []string // what is wrong, each with its next step
	Notes     []string // what could not be looked at, and why
}

// Health is how a broker stands.
type Health struct {
	Connected bool
	Address   string    // host:port or file, never a password
	User      string    // as whom
	Since     time.Time // of the last change
	Blocked   string    // why the broker refuses publishes for now, else ""
	Err       error     // why it is not connected
	Incidents []string  // what a person must know: a gap left by retention and its size
}

// OK reports whether messages can be taken and published.
func (h Health) OK() bool { return h.Connected && h.Blocked == "" }

// Outgoing is a message on its way to a topic.
type Outgoing struct {
	Topic   string
	Message *message.Message
}

// Committer is a broker that can publish a message's outputs, acknowledge the
// message, and make changes of the store, in one transaction. in is a message
// of this broker that is not settled yet, or one of our own making, for which
// there is nothing to acknowledge. When Commit returns nil all has happened;
// in must still be acked to free its place. When it returns an error nothing
// has. Of a message that a Commit has acknowledged before, it does nothing.
type Committer interface {
	Commit(ctx context.Context, in *message.Message, out []Outgoing, writes ...pipeline.Write) error

	// StartCommit begins a Commit without writes, as Start does a Publish. to is
	// told the same of each of out, by its index.
	StartCommit(ctx context.Context, in *message.Message, out []Outgoing, to pipeline.Confirmer) bool

	// Home names the file whose transaction a write joins, as store.Store's
	// does: only writes of a store with the same home may be given to Commit.
	Home() string
}

// Historian is a broker that knows of messages that are gone.
type Historian interface {
	// HadMessages reports whether the topic ever had a message.
	HadMessages(ctx context.Context, topic pipeline.Topic) (bool, error)
}

// PublishError says which messages of a Publish were not confirmed.
type PublishError struct {
	// Errs has one entry a message, in their order; nil where it was confirmed.
	Errs []error
}

// PublishFailed returns nil if all errs are nil, else a *PublishError.
func PublishFailed(errs []error) error {
	for _, err := range errs {
		if err != nil {
			return &PublishError{Errs: errs}
		}
	}
	return nil
}

// Each spreads the error of a Publish over its n messages.
func Each(err error, n int) []error {
	var each *PublishError
	if errors.As(err, &each) && len(each.Errs) == n {
		return each.Errs
	}
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return errs
}

func (e *PublishError) Error() string {
	failed, first := 0, error(nil)
	for _, err := range e.Errs {
		if err != nil {
			failed++
			if first == nil {
				first = err
			}
		}
	}
	if len(e.Errs) == 1 {
		return fmt.Sprintf("publish: %v", first)
	}
	return fmt.Sprintf("publish: %d of %d messages failed, the first: %v", failed, len(e.Errs), first)
}

// Unwrap returns the errors that are not nil, so that errors.As and
// pipeline.ReasonOf find the first.
func (e *PublishError) Unwrap() []error {
	var errs []error
	for _, err := range e.Errs {
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// ErrDraining is returned by Claim.Deliver once the subscription takes no
// more messages.
var ErrDraining = errors.New("the subscription is draining")
