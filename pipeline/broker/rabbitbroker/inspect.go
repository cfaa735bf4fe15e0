package rabbitbroker

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Inspect implements broker.Admin. Counts are the broker's own at that moment;
// what is handed out and not acknowledged, and bindings, only the management
// API knows, some seconds late.
func (b *Broker) Inspect(ctx context.Context, topics []pipeline.Topic, subs []broker.Subscription) ([]broker.Status, error) {
	b.readers.add(subs)
	var rows []broker.Status
	read := make(map[string]bool)
	for _, sub := range subs {
		read[sub.Topic.Name] = true
		row, err := b.status(ctx, sub.Name, layoutOf(sub.Topic), layoutOf(sub.Topic).queues(sub))
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", sub.Name, err)
		}
		rows = append(rows, row)
	}
	for _, topic := range topics {
		row, err := b.ownStatus(ctx, layoutOf(topic), read[topic.Name])
		if err != nil {
			return nil, fmt.Errorf("inspect topic %s: %w", topic.Name, err)
		}
		if row != nil {
			rows = append(rows, *row)
		}
	}
	return rows, nil
}

// ownStatus is the line of the queue that a topic has because nobody reads
// it; nil: it has none, or it is a subscription's.
func (b *Broker) ownStatus(ctx context.Context, l layout, isRead bool) (*broker.Status, error) {
	own := l.ownQueue()
	if own == "" || isRead && l.queue != "" {
		return nil, nil //nolint:nilnil // no line
	}
	if !isRead {
		row, err := b.status(ctx, l.topic.Name, l, []string{own})
		return &row, err
	}
	counts, err := b.count(ctx, own)
	if err != nil || counts.Consumers > 0 {
		return nil, nil //nolint:nilerr,nilnil // there is none, or somebody else's
	}
	return &broker.Status{
		Name: l.topic.Name, Topic: l.topic.Name, Ready: int64(counts.Messages), InFlight: -1,
		Problems: []string{fmt.Sprintf("queue %s is left from when nobody read the topic, and keeps a copy of each message: "+
			"publish again what is needed of it, then delete it", own)},
	}, nil
}

// status adds up the queues of one line. An error means that the broker could
// not be asked.
func (b *Broker) status(ctx context.Context, name string, l layout, queues []string) (broker.Status, error) {
	row := broker.Status{Name: name, Topic: l.topic.Name}
	known := true
	for _, q := range queues {
		counts, err := b.count(ctx, q)
		switch {
		case err == nil:
			row.Ready += int64(counts.Messages)
			row.Consumers += counts.Consumers
		case pipeline.ReasonOf(err) == pipeline.ReasonUnavailable:
			return row, err
		default:
			row.Problems = append(row.Problems, err.Error())
			known = false
		}
	}
	if !known {
		row.Ready, row.Consumers = -1, -1
	}
	if b.api == nil {
		row.InFlight = -1
		row.Notes = append(row.Notes, "existence and ready count only: set management_url to see bindings and what is in flight")
		return row, nil
	}
	if err := b.askManagement(ctx, l, queues, &row); err != nil {
		row.InFlight = -1
		row.Problems = append(row.Problems, err.Error())
	}
	return row, nil
}

// statTimeout is how long RabbitMQ itself waits for the leader of a quorum
// queue before it says that the queue has 0 messages and 0 consumers, which it
// also says at once of a queue that has no leader (3.10 and 4.1).
const statTimeout = 250 * time.Millisecond

// count returns how many messages wait in a queue, and how many consumers it
// has. That there are none of either is believed only if the leader has
// answered before and after, and all within the time in which RabbitMQ still
// waits for it. Else it is asked again, until ctx is done.
func (b *Broker) count(ctx context.Context, name string) (amqp.Queue, error) {
	q, err := b.declared(ctx, name)
	for err == nil && q.Messages == 0 && q.Consumers == 0 {
		began := time.Now()
		if err = b.askLeader(ctx, name, &q); err != nil || q.Messages > 0 {
			break
		}
		if q, err = b.declared(ctx, name); err != nil {
			break
		}
		if err = b.askLeader(ctx, name, &q); err != nil || time.Since(began) < statTimeout {
			break
		}
	}
	return q, err
}

// askLeader returns once the queue's leader has answered. It asks for a
// message: nothing else is answered by the leader alone. If there is one it is
// counted in q and given back. Where consumers take turns (single active
// consumer) the leader refuses.
func (b *Broker) askLeader(ctx context.Context, name string, q *amqp.Queue) error {
	waiting := make(chan int, 1) // an answer that comes late is nobody's
	err := b.consume.do(ctx, func(ch *amqp.Channel) error {
		msg, ok, err := ch.Get(name, false)
		if ok {
			waiting <- 1 + int(msg.MessageCount)
		}
		return err
	})
	if err != nil && !hasCode(err, amqp.ResourceLocked) {
		return classed(fmt.Errorf("look at queue %s: its leader does not answer: %w", name, err))
	}
	select {
	case q.Messages = <-waiting:
	default:
	}
	return nil
}

// askManagement adds what only the management API knows.
func (b *Broker) askManagement(ctx context.Context, l layout, queues []string, row *broker.Status) error {
	for _, name := range queues {
		q, err := b.api.queue(ctx, name)
		if err != nil {
			return err
		}
		if q == nil {
			continue // said already
		}
		switch {
		case q.Unacked == nil:
			row.InFlight = -1 // not counted yet
		case row.InFlight >= 0:
			row.InFlight += *q.Unacked
		}
		bindings, err := b.api.bindingsOf(ctx, name, false)
		if err != nil {
			return err
		}
		for _, bind := range bindings {
			row.Bindings = append(row.Bindings, bindingText(bind))
		}
		if !l.isDefault() && len(bindings) < 2 { // the default exchange's is always there
			row.Problems = append(row.Problems, fmt.Sprintf("queue %s is bound to no exchange: nothing can come in: set provision: create, or bind it", name))
		}
	}
	return nil
}

func bindingText(b apiBinding) string {
	if b.Source == "" {
		return fmt.Sprintf("the default exchange, key %q", b.Key)
	}
	return fmt.Sprintf("exchange %s, key %q", b.Source, b.Key)
}

// readers remembers the subscriptions that the broker has heard of, for Tail:
// a topic has no queue to look into but theirs.
type readers struct {
	mu   sync.Mutex
	subs map[string]broker.Subscription
}

func (r *readers) add(subs []broker.Subscription) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.subs == nil {
		r.subs = make(map[string]broker.Subscription)
	}
	for _, sub := range subs {
		r.subs[sub.Name] = sub
	}
}

// of lists a topic's subscriptions by name.
func (r *readers) of(topic string) []broker.Subscription {
	r.mu.Lock()
	defer r.mu.Unlock()
	var subs []broker.Subscription
	for _, name := range slices.Sorted(maps.Keys(r.subs)) {
		if r.subs[name].Topic.Name == topic {
			subs = append(subs, r.subs[name])
		}
	}
	return subs
}

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
