package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// publishTime is how long a message without a deadline of its own may take.
const publishTime = 30 * time.Second

var errClosed = errors.New("the broker is closed")

// publisher sends messages through a producer that all share, each with its
// own result. A batch is refused as a whole if it is over the topic's limit,
// which says nothing of its messages; those go once more, one a batch.
type publisher struct {
	b     *Broker
	ctx   context.Context // until stop
	end   context.CancelFunc
	bulk  *producer
	alone *producer
	small sync.Map // names of topics whose limit is below that of our batches

	mu      sync.Mutex
	limit   context.Context // bounds messages without a deadline that are published now
	renewed time.Time
	unused  context.CancelFunc // of limit, which ends by itself
}

func newPublisher(b *Broker) *publisher {
	p := &publisher{b: b}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.bulk = newProducer(b, p.ctx, forProducer)
	p.alone = newProducer(b, p.ctx, forAlone)
	return p
}

// stop ends the producers once what they hold is sent, or after flushTime.
func (p *publisher) stop() {
	p.end()
	p.bulk.work.Wait()
	p.alone.work.Wait()
}

// Close is a no-op: Broker.Close closes the publisher.
func (p *publisher) Close() error { return nil }

// Publish sends all messages at once and waits for each one's confirmation by
// all in-sync replicas, or its deadline. See broker.Broker.
func (p *publisher) Publish(topic string, msgs ...*message.Message) error {
	errs := make([]error, len(msgs))
	t, known := p.b.opts.Topic(topic)
	if !known {
		for i := range errs {
			errs[i] = unroutable("publish to %q: the config has no such topic; add it under topics", topic)
		}
		return broker.PublishFailed(errs)
	}
	batch := &batch{p: p, topic: t, msgs: msgs, records: make([]*sarama.ProducerMessage, len(msgs))}
	batch.send(errs, p.route)
	batch.await(errs)
	batch.again(errs)
	for i, err := range errs {
		if err != nil {
			errs[i] = batch.explain(i, err)
		}
	}
	return broker.PublishFailed(errs)
}

// route returns the producer for a record.
func (p *publisher) route(record *sarama.ProducerMessage) *producer {
	if _, small := p.small.Load(record.Topic); small || record.ByteSize(recordVersion) > batchLimit-batchOverhead {
		return p.alone
	}
	return p.bulk
}

// batchOverhead is more than sarama counts for a batch and a record beside
// their contents.
const batchOverhead = 1 << 10

// bound returns the context that bounds messages without a deadline: one for
// all that begin within a second, since each would cost a timer.
func (p *publisher) bound() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.renewed) > time.Second {
		p.renewed = now
		p.limit, p.unused = context.WithTimeout(context.Background(), publishTime)
	}
	return p.limit
}

// batch is one Publish.
type batch struct {
	p       *publisher
	topic   pipeline.Topic
	msgs    []*message.Message
	records []*sarama.ProducerMessage
	missing *bool // whether the topic is not there; nil: not asked yet
}

// context returns the contexts that bound the i-th message.
func (b *batch) context(i int) (own, limit context.Context) {
	own = b.msgs[i].Context()
	if _, bounded := own.Deadline(); bounded {
		return own, own
	}
	return own, b.p.bound()
}

// send hands every message that has no error yet to its producer.
func (b *batch) send(errs []error, route func(*sarama.ProducerMessage) *producer) {
	for i, msg := range b.msgs {
		if errs[i] != nil {
			continue
		}
		if limit := b.topic.MaxMessage; limit > 0 && size(msg) > limit {
			errs[i] = tooLarge("%d bytes of payload and metadata are over max_message, %d", size(msg), limit)
			continue
		}
		record := encode(b.topic, msg)
		record.Metadata = make(ticket, 1)
		b.records[i] = record
		own, limit := b.context(i)
		errs[i] = route(record).send(own, limit, record)
	}
}

// await waits for the result of every message that was sent.
func (b *batch) await(errs []error) {
	for i, record := range b.records {
		if errs[i] != nil || record == nil {
			continue
		}
		own, limit := b.context(i)
		select {
		case errs[i] = <-record.Metadata.(ticket):
			continue
		default:
		}
		select {
		case errs[i] = <-record.Metadata.(ticket):
		case <-own.Done():
			errs[i] = fmt.Errorf("no confirmation yet, it may still be published: %w", own.Err())
		case <-limit.Done():
			errs[i] = fmt.Errorf("no confirmation yet, it may still be published: %w", limit.Err())
		}
	}
}

// again sends the messages that shared a batch that was too large once more,
// each in a batch of its own.
func (b *batch) again(errs []error) {
	left := make([]error, len(errs))
	repeat := false
	for i, err := range errs {
		if left[i] = errSkip; saysTooLarge(err) && b.p.route(b.records[i]) == b.p.bulk {
			left[i], repeat = nil, true
		}
	}
	if !repeat {
		return
	}
	b.p.small.Store(b.topic.Name, true)
	b.send(left, func(*sarama.ProducerMessage) *producer { return b.p.alone })
	b.await(left)
	for i, err := range left {
		if !errors.Is(err, errSkip) {
			errs[i] = err
		}
	}
}

var errSkip = errors.New("skip")

// explain gives the error of the i-th message its reason.
func (b *batch) explain(i int, err error) error {
	name := b.topic.Name
	switch {
	case pipeline.IsPermanent(err):
	case saysTooLarge(err):
		err = tooLarge("%d bytes are over the broker's limit; raise the topic's max_message, or max.message.bytes: %w",
			size(b.msgs[i]), err)
	case refused(err):
		err = permanent(pipeline.ReasonRejected, "the broker refuses the record: %w", err)
	case saysUnknown(err) && b.topicMissing():
		err = unroutable("the broker has no topic %q: %w; create it, or set its provision to create", name, err)
	default:
		err = unavailable(err)
	}
	return fmt.Errorf("publish to %s: %w", name, err)
}

// topicMissing asks the cluster whether the topic is not there, once.
func (b *batch) topicMissing() bool {
	if b.missing == nil {
		ctx, cancel := context.WithTimeout(b.p.ctx, answerTimeout)
		defer cancel()
		missing := b.p.b.topicMissing(ctx, b.topic.Name)
		b.missing = &missing
	}
	return *b.missing
}

// size is what max_message counts.
func size(msg *message.Message) int {
	n := len(msg.Payload)
	for k, v := range msg.Metadata {
		n += len(k) + len(v)
	}
	return n
}
