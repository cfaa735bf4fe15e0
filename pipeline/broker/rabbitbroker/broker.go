package rabbitbroker

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// steady is how long something must have worked for its pauses to begin anew.
const steady = 5 * time.Second

// Broker is a RabbitMQ broker. Open makes one.
type Broker struct {
	opts     broker.Options
	log      *slog.Logger
	endpoint *endpoint
	api      *management // nil without management_url

	consume   *link // what is read, and all questions
	publish   *link // from the first Publish
	publisher *publisher
	readers   readers

	mu       sync.Mutex
	troubles map[string]string // what is wrong with a queue that is read
}

var _ broker.Broker = (*Broker)(nil)

// Open returns the broker of cfg, which begins to connect. It does not wait
// for that: Health says how it stands. An error is a mistake in cfg.
func Open(cfg pipeline.Broker, opts broker.Options) (broker.Broker, error) {
	e, err := newEndpoint(cfg, opts.Instance)
	if err != nil {
		return nil, err
	}
	api, err := newManagement(cfg, e)
	if err != nil {
		return nil, err
	}
	log := opts.Log.With("broker", cfg.Name)
	if cfg.TLS.SkipVerify {
		log.Warn("tls: skip_verify is set: the broker's certificate is not checked")
	}
	b := &Broker{
		opts: opts, log: log, endpoint: e, api: api,
		consume:  newLink(purposeConsume, e, log),
		publish:  newLink(purposePublish, e, log),
		troubles: make(map[string]string),
	}
	b.publisher = newPublisher(b, b.publish)
	b.consume.start()
	return b, nil
}

// Publisher implements broker.Broker. The connection for it is made with the
// first Publish, so that a process that only reads has one connection.
func (b *Broker) Publisher() message.Publisher { return b.publisher }

// Source implements broker.Broker.
func (b *Broker) Source(sub broker.Subscription) broker.Source {
	b.readers.add([]broker.Subscription{sub})
	return &source{b: b, sub: sub, layout: layoutOf(sub.Topic)}
}

// Close implements broker.Broker.
func (b *Broker) Close() error {
	b.publish.close()
	b.consume.close()
	if b.api != nil {
		b.api.close()
	}
	return nil
}

// Health implements broker.Broker.
func (b *Broker) Health() broker.Health {
	state := b.consume.now()
	h := broker.Health{
		Connected: state.conn != nil, Err: state.err, Since: state.since, Blocked: state.blocked,
		Address: b.endpoint.address, User: b.endpoint.user,
	}
	if b.publish.active() {
		state = b.publish.now()
		h.Connected = h.Connected && state.conn != nil
		if state.blocked != "" {
			h.Blocked = state.blocked
		}
		if h.Err == nil {
			h.Err = state.err
		}
		if state.since.After(h.Since) {
			h.Since = state.since
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, queue := range slices.Sorted(maps.Keys(b.troubles)) {
		h.Incidents = append(h.Incidents, strings.Join([]string{"queue", queue + ":", b.troubles[queue]}, " "))
	}
	return h
}

// trouble records why a queue cannot be read; nil: it can. It reports whether
// that is new.
func (b *Broker) trouble(queue string, err error) (isNew bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	before, was := b.troubles[queue]
	if err == nil {
		delete(b.troubles, queue)
		return was
	}
	b.troubles[queue] = err.Error()
	return before != err.Error()
}
