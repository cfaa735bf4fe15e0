package place

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"

	"github.com/IBM/sarama"
	"golang.org/x/sync/errgroup"
)

// sender sends orders one by one, without lingering.
type sender struct {
	producer sarama.AsyncProducer
	work     sync.WaitGroup

	mu  sync.Mutex
	err error // the first refusal
}

func newSender(addrs []string) (*sender, error) {
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.ClientID = "bench-send"
	config.Producer.RequiredAcks = sarama.WaitForAll
	producer, err := sarama.NewAsyncProducer(addrs, config)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka: %w", err)
	}
	s := &sender{producer: producer}
	s.work.Go(func() {
		for err := range producer.Errors() {
			s.mu.Lock()
			if s.err == nil {
				s.err = fmt.Errorf("send an order: %w", err)
			}
			s.mu.Unlock()
		}
	})
	return s, nil
}

func (s *sender) failed() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

func (s *sender) close() error {
	s.producer.AsyncClose()
	s.work.Wait()
	return s.failed()
}

// Send has a client of its own: a connection answers one request at a time,
// and a produce must not wait behind a fetch.
func (s *kafkaSite) Send(_ context.Context, seq int, key string, payload []byte) (err error) {
	if s.sender == nil {
		if s.sender, err = newSender(strings.Split(s.spec.URL, ",")); err != nil {
			return err
		}
	}
	s.sender.producer.Input() <- s.record(seq, key, payload)
	return s.sender.failed()
}

// Watch reads all partitions from their beginning.
func (s *kafkaSite) Watch(ctx context.Context, see func([]byte)) error {
	consumer, err := sarama.NewConsumer(strings.Split(s.spec.URL, ","), s.client.Config())
	if err != nil {
		return fmt.Errorf("connect to Kafka: %w", err)
	}
	defer consumer.Close()
	var work errgroup.Group
	for p := range int32(s.spec.Partitions) { //nolint:gosec // a handful
		pc, err := consumer.ConsumePartition(s.spec.Out, p, sarama.OffsetOldest)
		if err != nil {
			return errors.Join(fmt.Errorf("read the output: %w", err), work.Wait())
		}
		work.Go(func() error {
			defer pc.Close()
			for {
				select {
				case <-ctx.Done():
					return nil
				case msg := <-pc.Messages():
					see(msg.Value)
				}
			}
		})
	}
	return work.Wait()
}
