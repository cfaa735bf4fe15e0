package kafkabroker

import (
	"context"
	"fmt"
	"log/slog"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Broker is a Kafka cluster. See the package comment.
type Broker struct {
	opts   broker.Options
	addrs  []string
	config *sarama.Config // what all clients share; never changed
	log    *slog.Logger

	life   context.Context // until Close
	cancel context.CancelFunc
	work   sync.WaitGroup // every goroutine of the Broker

	// control is the client for short requests: commits, offsets, topics. On
	// the connections of fetches and joins they would wait behind those, as
	// sarama answers one request of a connection at a time.
	control   *link
	publisher *publisher
	health    *health

	mu      sync.Mutex
	closed  bool                    // no goroutine may begin any more
	members map[string]map[int]bool // the places that a subscription's members take in this process
}

var _ broker.Broker = (*Broker)(nil)

// Open returns the cluster that cfg names. It does not touch the network: the
// error is one of the config.
func Open(cfg pipeline.Broker, opts broker.Options) (broker.Broker, error) {
	b, err := open(cfg, opts)
	if err != nil {
		return nil, fmt.Errorf("open kafka broker %q: %w", cfg.Name, err)
	}
	return b, nil
}

func open(cfg pipeline.Broker, opts broker.Options) (*Broker, error) {
	if encodedAt < 0 {
		return nil, errOtherSarama
	}
	addrs, err := addresses(cfg.URL)
	if err != nil {
		return nil, err
	}
	config, err := newConfig(cfg, addrs)
	if err != nil {
		return nil, err
	}
	b := &Broker{
		opts: opts, addrs: addrs, config: config,
		log:     opts.Log.With("broker", cfg.Name),
		health:  newHealth(strings.Join(addrs, ","), cfg.SASL.User),
		members: make(map[string]map[int]bool),
	}
	b.life, b.cancel = context.WithCancel(context.Background())
	if b.control, err = b.newLink(b.life); err != nil {
		b.cancel()
		return nil, err
	}
	if cfg.TLS.Enabled && cfg.TLS.SkipVerify {
		b.log.Warn("tls: skip_verify is on: anybody can pose as the broker")
	}
	b.publisher = newPublisher(b)
	b.work.Go(b.watch)
	return b, nil
}

// Publisher returns the publisher that all share.
func (b *Broker) Publisher() message.Publisher { return b.publisher }

// Source returns the subscription's group member.
func (b *Broker) Source(sub broker.Subscription) broker.Source {
	return &source{b: b, sub: sub, log: b.log.With("group", sub.Name)}
}

// Health returns the state as last seen.
func (b *Broker) Health() broker.Health { return b.health.get() }

// Close ends the publisher and closes the connections.
func (b *Broker) Close() error {
	b.publisher.stop()
	b.cancel()
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.work.Wait()
	b.control.close()
	return nil
}

// ask runs f, which may hang on a broker that does not answer, and waits for
// it until ctx is done. Close waits for what is left of it.
func (b *Broker) ask(ctx context.Context, f func() error) error {
	answer := make(chan error, 1)
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return errClosed
	}
	b.work.Go(func() { answer <- f() })
	b.mu.Unlock()
	select {
	case err := <-answer:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// within is ask for those who wait a while longer than ctx lasts.
func (b *Broker) within(ctx context.Context, longer time.Duration, f func() error) error {
	ctx, cancel := outlast(ctx, longer)
	defer cancel()
	return b.ask(ctx, f)
}

// outlast returns a context that ends as long after ctx as said.
func outlast(ctx context.Context, by time.Duration) (context.Context, context.CancelFunc) {
	longer, cancel := context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, func() {
		late := time.AfterFunc(by, cancel)
		context.AfterFunc(longer, func() { late.Stop() })
	})
	return longer, func() { stop(); cancel() }
}

// member takes a place in the subscription's group for a member of this
// process, and returns the name under which Kafka knows it over restarts, ""
// for none. Two with the same name would push each other out; the second and
// further ones, which only tests have, get a number.
func (b *Broker) member(sub broker.Subscription) (instance string, leave func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	taken := b.members[sub.Name]
	if taken == nil {
		taken = make(map[int]bool)
		b.members[sub.Name] = taken
	}
	place := 0
	for taken[place] {
		place++
	}
	taken[place] = true
	return instanceName(b.opts.Instance, sub.Instance, place), func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(taken, place)
	}
}

var notInInstanceName = regexp.MustCompile(`[^a-zA-Z0-9._-]`)

// instanceName returns group.instance.id for the place-th member of a process.
func instanceName(process, subscription string, place int) string {
	name := process
	if name == "" {
		name = subscription
	}
	if name == "" {
		return ""
	}
	name = notInInstanceName.ReplaceAllString(name, "-")
	if place > 0 {
		name += "." + strconv.Itoa(place)
	}
	return name[max(0, len(name)-200):]
}
