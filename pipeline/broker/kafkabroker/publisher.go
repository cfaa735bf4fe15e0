package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// publishTime is how long a message without a deadline of its own may take,
// and up to a second more.
const publishTime = 30 * time.Second

var errClosed = errors.New("the broker is closed")

// publisher sends messages through one producer that all share, each with its
// own result. A batch is refused as a whole if it is over the topic's limit,
// which says nothing of its messages; those go once more, one a batch.
type publisher struct {
	b     *Broker
	ctx   context.Context // until stop
	end   context.CancelFunc
	to    *producer
	small sync.Map // names of topics whose limit is below that of our batches

	mu      sync.Mutex
	limit   context.Context // bounds messages without a deadline that are published now
	renewed time.Time
	unused  context.CancelFunc // of limit, which ends by itself
}

func newPublisher(b *Broker) *publisher {
	p := &publisher{b: b}
	p.ctx, p.end = context.WithCancel(context.Background())
	p.to = newProducer(p.ctx, b)
	return p
}

// stop ends the producer once what it holds is sent, or after flushTime.
func (p *publisher) stop() { p.to.stop(p.end) }

// Close is a no-op: Broker.Close closes the publisher.
func (p *publisher) Close() error { return nil }

// Publish sends all messages at once and waits for each one's confirmation by
// all in-sync replicas, or its deadline. See broker.Broker.
func (p *publisher) Publish(topic string, msgs ...*message.Message) error {
	t, known := p.b.opts.Topic(topic)
	if !known {
		err := unroutable("publish to %q: the config has no such topic; add it under topics", topic)
		return allFailed(len(msgs), err)
	}
	if len(msgs) == 0 {
		_, _, _ = p.to.get()
		return nil
	}
	batch := batch{p: p, topic: t, sendings: make([]sending, len(msgs))}
	for i, msg := range msgs {
		batch.sendings[i].msg = msg
		batch.send(&batch.sendings[i])
	}
	failed := false
	for i := range batch.sendings {
		batch.sendings[i].await()
		failed = failed || batch.sendings[i].err != nil
	}
	if !failed {
		return nil
	}
	batch.again()
	return batch.explain()
}

// Start implements broker.Broker.
func (b *Broker) Start(topic string, msg *message.Message, to pipeline.Confirmer, number int) bool {
	p := b.publisher
	t, known := b.opts.Topic(topic)
	if !known || t.MaxMessage > 0 && size(msg) > t.MaxMessage {
		return false
	}
	s := p.to.now()
	if s == nil || p.alone(topic, len(msg.Payload)) {
		return false
	}
	memory := newScratch()
	defer memory.free()
	r := memory.encode(t, msg)
	if p.alone(topic, r.size()) {
		return false
	}
	taken, _ := s.put(topic, parcel{record: r, teller: teller{to, number}})
	return taken
}

func allFailed(n int, err error) error {
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
	}
	return broker.PublishFailed(errs)
}

// alone reports whether a record is to share no batch.
func (p *publisher) alone(topic string, size int) bool {
	_, small := p.small.Load(topic)
	return small || size > batchLimit-batchOverhead
}

// batchOverhead is more than what a batch, and a request, has beside its records.
const batchOverhead = 1 << 10

// bound returns the context that bounds messages without a deadline: one for
// all that begin within a second, since each would cost a timer.
func (p *publisher) bound() context.Context {
	p.mu.Lock()
	defer p.mu.Unlock()
	if now := time.Now(); now.Sub(p.renewed) > time.Second {
		p.renewed = now
		p.limit, p.unused = context.WithTimeout(context.Background(), publishTime+time.Second)
	}
	return p.limit
}

// sending is one message of a Publish.
type sending struct {
	msg    *message.Message
	own    context.Context // the message's
	limit  context.Context // the same, if that is bounded, or what bounds a message without a deadline
	result ticket          // nil: it was not handed to a producer
	shared bool            // it may have shared a batch

	bounded bool // own has a deadline
	err     error
}

// await waits for the result.
func (s *sending) await() {
	if s.err != nil {
		return
	}
	if s.bounded {
		answer, err := pipeline.Await(s.own, s.result)
		s.settle(answer, err)
		return
	}
	select {
	case answer := <-s.result:
		s.settle(answer, nil)
	case <-s.own.Done():
		s.settle(nil, s.own.Err())
	case <-s.limit.Done():
		s.settle(nil, s.limit.Err())
	}
}

// settle takes the producer's answer, or why it was not waited for.
func (s *sending) settle(answer, why error) {
	if why != nil {
		s.err = unconfirmed(why)
		return
	}
	s.err = answer
	s.result.done()
}

func unconfirmed(err error) error {
	return fmt.Errorf("no confirmation yet, it may still be published: %w", err)
}

// batch is one Publish.
type batch struct {
	p        *publisher
	topic    pipeline.Topic
	sendings []sending
}

// send hands a message to the producer.
func (b *batch) send(s *sending) {
	if limit := b.topic.MaxMessage; limit > 0 && size(s.msg) > limit {
		s.err = tooLarge("%d bytes of payload and metadata are over max_message, %d", size(s.msg), limit)
		return
	}
	s.own = s.msg.Context()
	s.limit = s.own
	if _, s.bounded = s.own.Deadline(); !s.bounded {
		s.limit = b.p.bound()
	}
	if s.err = tooMuch(len(s.msg.Payload)); s.err != nil {
		return
	}
	s.result = newTicket()
	s.err = b.p.to.send(s.own, s.limit, func(to *stream) (bool, <-chan struct{}, error) { return b.put(to, s) })
}

// put encodes a message, once there is room, and puts it into a stream. Whoever
// waits for room has no copy.
func (b *batch) put(to *stream, s *sending) (taken bool, room <-chan struct{}, err error) {
	if room := to.full(); room != nil {
		return false, room, nil
	}
	memory := newScratch()
	defer memory.free()
	r := memory.encode(b.topic, s.msg)
	if err := tooMuch(r.size()); err != nil {
		return false, nil, err
	}
	alone := b.p.alone(b.topic.Name, r.size())
	s.shared = !alone
	taken, room = to.put(b.topic.Name, parcel{record: r, alone: alone, teller: teller{s.result, 0}})
	return taken, room, nil
}

// tooMuch is the error of a record that no request takes.
func tooMuch(size int) error {
	if size <= requestMost-batchOverhead {
		return nil
	}
	return tooLarge("%d bytes are over what a request to Kafka takes, %d", size, requestMost)
}

// again sends the messages that shared a batch that was too large once more,
// each in a batch of its own.
func (b *batch) again() {
	var repeated []*sending
	for i := range b.sendings {
		if s := &b.sendings[i]; s.shared && saysTooLarge(s.err) {
			b.p.small.Store(b.topic.Name, true)
			b.send(s)
			repeated = append(repeated, s)
		}
	}
	for _, s := range repeated {
		s.await()
	}
}

// explain returns the error of a Publish, each message's with its reason.
func (b *batch) explain() error {
	errs := make([]error, len(b.sendings))
	missing := sync.OnceValue(func() bool {
		ctx, cancel := context.WithTimeout(b.p.ctx, answerTimeout)
		defer cancel()
		return b.p.b.topicMissing(ctx, b.topic.Name)
	})
	for i := range b.sendings {
		if s := &b.sendings[i]; s.err != nil {
			errs[i] = fmt.Errorf("publish to %s: %w", b.topic.Name, b.reason(s, missing))
		}
	}
	return broker.PublishFailed(errs)
}

func (b *batch) reason(s *sending, missing func() bool) error {
	switch {
	case pipeline.IsPermanent(s.err):
		return s.err
	case saysTooLarge(s.err):
		return tooLarge("%d bytes are over the broker's limit; raise the topic's max_message, or max.message.bytes: %w",
			size(s.msg), s.err)
	case refusesRecord(s.err):
		return permanent(pipeline.ReasonRejected, "the broker refuses the record: %w", s.err)
	case saysUnknown(s.err) && missing():
		return unroutable("the broker has no topic %q: %w; create it, or set its provision to create", b.topic.Name, s.err)
	}
	return unavailable(s.err)
}

// size is what max_message counts.
func size(msg *message.Message) int {
	n := len(msg.Payload)
	for k, v := range msg.Metadata {
		n += len(k) + len(v)
	}
	return n
}
