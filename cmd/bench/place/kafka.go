package place

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// kafka is a Kafka.
type kafka struct {
	node *node // nil: somebody else's
	url  string
	pid  int
}

func startKafka(ctx context.Context, url, dir, script string) (Broker, error) {
	if url != "" {
		return &kafka{url: url, pid: listener(strings.Split(url, ",")[0])}, nil
	}
	n, err := startNode(ctx, script, job.Kafka, dir)
	if err != nil {
		return nil, err
	}
	return &kafka{node: n, url: n.address(), pid: n.pid}, nil
}

func (k *kafka) PID() int { return k.pid }

func (k *kafka) Close() error {
	if k.node == nil {
		return nil
	}
	return k.node.stop()
}

// Open makes topics with the variant's partitions, for all implementations
// alike.
func (k *kafka) Open(ctx context.Context, l Layout) (Site, error) {
	partitions := l.Partitions
	if partitions == 0 {
		n, _, _ := strings.Cut(l.Variant, " ")
		var err error
		if partitions, err = strconv.Atoi(n); err != nil {
			return nil, fmt.Errorf("variant %q: want a number of partitions", l.Variant)
		}
	}
	config := sarama.NewConfig()
	config.Version = sarama.V3_6_0_0
	config.ClientID = "bench"
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Return.Successes = true
	client, err := sarama.NewClient(strings.Split(k.url, ","), config)
	if err != nil {
		return nil, fmt.Errorf("connect to Kafka: %w", err)
	}
	admin, err := sarama.NewClusterAdminFromClient(client)
	if err != nil {
		return nil, errors.Join(err, client.Close())
	}
	id := newID()
	in := "bench-" + id + "-in"
	s := &kafkaSite{client: client, admin: admin, spec: job.Spec{
		Impl: l.Impl, Broker: job.Kafka, Variant: l.Variant, URL: k.url,
		In: in, Out: "bench-" + id + "-out", Group: in + "." + handler, InFlight: l.InFlight, Partitions: partitions,
		Envelope: l.Envelope,
	}}
	if err := s.make(ctx, l); err != nil {
		return nil, errors.Join(err, s.Drop(ctx))
	}
	return s, nil
}

type kafkaSite struct {
	client sarama.Client
	admin  sarama.ClusterAdmin
	sender *sender // nil until the first Send
	spec   job.Spec
	topics []string // that were made
}

func (s *kafkaSite) Spec() job.Spec { return s.spec }

func (s *kafkaSite) make(ctx context.Context, l Layout) error {
	for _, name := range []string{s.spec.In, s.spec.Out} {
		detail := &sarama.TopicDetail{NumPartitions: int32(s.spec.Partitions), ReplicationFactor: -1} //nolint:gosec // a handful
		if err := s.admin.CreateTopic(name, detail, false); err != nil {
			return fmt.Errorf("create topic: %w", err)
		}
		s.topics = append(s.topics, name)
		if err := s.awaitLeaders(ctx, name); err != nil {
			return err
		}
	}
	if !job.IsWaybill(l.Impl) {
		return nil
	}
	topic := fmt.Sprintf(", partitions: %d", s.spec.Partitions)
	l.InFlight *= s.spec.Partitions // as much as the bare client has
	i, err := install(l, fmt.Sprintf("driver: kafka, url: %q", s.spec.URL), func(string) string { return topic }, s.spec.In, s.spec.Out)
	if err != nil {
		return err
	}
	s.spec.Config = i.config
	s.topics = append(s.topics, s.spec.Group+".dlq")
	return i.provision(ctx, s.spec.In)
}

func (s *kafkaSite) Load(ctx context.Context, orders job.Orders, n int) error {
	producer, err := sarama.NewAsyncProducerFromClient(s.client)
	if err != nil {
		return err
	}
	fed := make(chan struct{})
	go func() {
		defer close(fed)
		for seq := 0; seq < n && ctx.Err() == nil; seq++ {
			producer.Input() <- s.record(seq, orders.Key(seq), orders.Order(seq, noDue))
		}
		producer.AsyncClose()
	}()
	var failed error
	done := 0
	for successes, errs := producer.Successes(), producer.Errors(); successes != nil || errs != nil; {
		select {
		case _, ok := <-successes:
			if !ok {
				successes = nil
				continue
			}
			done++
		case err, ok := <-errs:
			if !ok {
				errs = nil
				continue
			}
			failed = err
		}
	}
	<-fed
	if failed == nil && done < n {
		failed = context.Cause(ctx)
	}
	if failed != nil {
		return fmt.Errorf("fill the input: %w", failed)
	}
	return nil
}

func (s *kafkaSite) record(seq int, key string, payload []byte) *sarama.ProducerMessage {
	return &sarama.ProducerMessage{
		Topic: s.spec.In, Key: sarama.StringEncoder(key), Value: sarama.ByteEncoder(payload),
		Headers: []sarama.RecordHeader{
			{Key: []byte(job.IDHeader), Value: []byte(job.ID(seq))},
			{Key: []byte(job.KeyHeader), Value: []byte(key)},
		},
	}
}

func (s *kafkaSite) Outputs(ctx context.Context, n int, see func([]byte)) error {
	ctx, enough := context.WithTimeoutCause(ctx, readTimeout, errors.New("the outputs could not be read in time"))
	defer enough()
	ends, err := s.ends(s.spec.Out)
	if err != nil {
		return err
	}
	consumer, err := sarama.NewConsumerFromClient(s.client)
	if err != nil {
		return err
	}
	defer consumer.Close()
	for p, end := range ends {
		if err := readPartition(ctx, consumer, s.spec.Out, p, min(end, int64(n)), see); err != nil {
			return fmt.Errorf("read the outputs: %w", err)
		}
	}
	return nil
}

func readPartition(ctx context.Context, consumer sarama.Consumer, topic string, p int32, end int64, see func([]byte)) error {
	if end == 0 {
		return nil
	}
	pc, err := consumer.ConsumePartition(topic, p, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	defer pc.Close()
	for {
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case msg := <-pc.Messages():
			see(msg.Value)
			if msg.Offset+1 >= end {
				return nil
			}
		}
	}
}

// dropGroup waits for a member that was killed to be given up.
func (s *kafkaSite) dropGroup() error {
	late := time.After(groupTimeout)
	for {
		err := s.admin.DeleteConsumerGroup(s.spec.Group)
		switch {
		case err == nil || errors.Is(err, sarama.ErrGroupIDNotFound):
			return nil
		case !errors.Is(err, sarama.ErrNonEmptyGroup):
			return fmt.Errorf("remove group %s: %w", s.spec.Group, err)
		}
		select {
		case <-late:
			return fmt.Errorf("remove group %s: %w", s.spec.Group, err)
		case <-time.After(200 * time.Millisecond):
		}
	}
}

// groupTimeout is longer than a session of a consumer group.
const groupTimeout = 15 * time.Second

func (s *kafkaSite) Drop(context.Context) error {
	var errs []error
	if s.sender != nil {
		errs = append(errs, s.sender.close())
	}
	for _, name := range s.topics {
		if err := s.admin.DeleteTopic(name); err != nil && !errors.Is(err, sarama.ErrUnknownTopicOrPartition) {
			errs = append(errs, fmt.Errorf("remove topic %s: %w", name, err))
		}
	}
	return errors.Join(append(errs, s.dropGroup(), s.admin.Close())...)
}
