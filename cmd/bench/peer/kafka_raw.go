package peer

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/IBM/sarama"
	"github.com/rcrowley/go-metrics"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// rawKafka is a consumer group and an AsyncProducer with acks=all. Each
// partition is prepared and produced in order by a goroutine of its own, and
// offsets are marked up to where all outputs are acknowledged.
func rawKafka(ctx context.Context, spec job.Spec, prepare job.PrepareFunc) error {
	metrics.UseNilMetrics = true // sarama's meters cost it a tenth, and nobody reads them
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.ClientID = "raw"
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	config.Consumer.Offsets.Initial = sarama.OffsetOldest
	addrs := strings.Split(spec.URL, ",")

	producer, err := sarama.NewAsyncProducer(addrs, config)
	if err != nil {
		return fmt.Errorf("open producer: %w", err)
	}
	group, err := sarama.NewConsumerGroup(addrs, spec.Group, config)
	if err != nil {
		producer.AsyncClose()
		return fmt.Errorf("join group: %w", err)
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	var settling errgroup.Group
	settling.Go(func() error { return settle(producer, fail) })
	h := &kafkaHandler{ctx: ctx, spec: spec, prepare: prepare, producer: producer}
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{spec.In}, h); err != nil && ctx.Err() == nil {
			fail(fmt.Errorf("consume: %w", err))
		}
	}
	err = group.Close() // commits what is marked
	producer.AsyncClose()
	err = errors.Join(err, settling.Wait())
	if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
		err = errors.Join(cause, err)
	}
	return err
}

// settle takes the producer's answers until it is closed.
func settle(producer sarama.AsyncProducer, fail func(error)) error {
	var work sync.WaitGroup
	work.Go(func() {
		for err := range producer.Errors() {
			fail(fmt.Errorf("produce: %w", err))
		}
	})
	for msg := range producer.Successes() {
		if p, ok := msg.Metadata.(place); ok {
			p.progress.done(p.offset)
		}
	}
	work.Wait()
	return nil
}

// place is where an output's order came from.
type place struct {
	progress *progress
	offset   int64
}

type kafkaHandler struct {
	ctx      context.Context
	spec     job.Spec
	prepare  job.PrepareFunc
	producer sarama.AsyncProducer
}

func (*kafkaHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (*kafkaHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *kafkaHandler) ConsumeClaim(session sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	p := newProgress(h.spec.InFlight, func(next int64) {
		session.MarkOffset(claim.Topic(), claim.Partition(), next, "")
	})
	defer p.wait()
	for msg := range claim.Messages() {
		payload, err := h.prepare(msg.Value)
		if err != nil {
			return fmt.Errorf("prepare: %w", err)
		}
		if !p.begin(h.ctx, msg.Offset) {
			return nil
		}
		headers := headersOf(msg)
		if h.spec.Envelope {
			headers = envelopeOf(headers)
		}
		h.producer.Input() <- &sarama.ProducerMessage{
			Topic: h.spec.Out, Key: sarama.ByteEncoder(msg.Key), Value: sarama.ByteEncoder(payload),
			Headers: headers, Metadata: place{p, msg.Offset},
		}
	}
	return nil
}

func headersOf(msg *sarama.ConsumerMessage) []sarama.RecordHeader {
	headers := make([]sarama.RecordHeader, len(msg.Headers))
	for i, h := range msg.Headers {
		headers[i] = *h
	}
	return headers
}

// envelopeOf are the headers of the output of an order with these, of which the
// first is its id.
func envelopeOf(in []sarama.RecordHeader) []sarama.RecordHeader {
	out := make([]sarama.RecordHeader, 0, len(in)+3)
	for _, h := range envelope(string(in[0].Value)) {
		out = append(out, sarama.RecordHeader{Key: []byte(h.name), Value: []byte(h.value)})
	}
	return append(out, in[1:]...)
}
