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

// tailIdle is how long a tail that is to end at the end of what is there
// waits for offsets that hold no message: marks of transactions, and what
// compaction has taken.
const tailIdle = 2 * time.Second

// leaderWait is how long a tail waits for partitions to have leaders.
const leaderWait = 5 * time.Second

// Tail reads the topic's partitions without a group, so that nobody notices.
// See broker.Admin.
func (b *Broker) Tail(ctx context.Context, topic pipeline.Topic, opts broker.TailOptions, f func(*message.Message) error) error {
	l, err := b.newLink(ctx, forFetch)
	if err != nil {
		return fmt.Errorf("tail %s: %w", topic.Name, err)
	}
	defer l.close()
	t := &tail{b: b, link: l, topic: topic, opts: opts, records: make(chan *sarama.ConsumerMessage)}
	var begun *tailing
	if err := b.ask(ctx, func() (err error) { begun, err = t.settled(ctx); return err }); err != nil {
		if saysUnknown(err) {
			return unroutable("tail %s: the broker has no such topic: %w", topic.Name, err)
		}
		return fmt.Errorf("tail %s: %w", topic.Name, b.away(err))
	}
	defer begun.end()
	if opts.Ready != nil {
		opts.Ready()
	}
	return t.show(ctx, begun, f)
}

// tail is one Tail.
type tail struct {
	b       *Broker
	link    *link
	topic   pipeline.Topic
	opts    broker.TailOptions
	records chan *sarama.ConsumerMessage
}

// tailing is a tail that reads.
type tailing struct {
	ends  map[int32]int64 // where to stop, of partitions not yet read up to there
	feeds []sarama.PartitionConsumer
	quit  chan struct{}
	work  sync.WaitGroup
}

// settled begins once the partitions' leaders are known: those of a topic that
// was just made, or has just moved, take a moment.
func (t *tail) settled(ctx context.Context) (*tailing, error) {
	ctx, cancel := context.WithTimeout(ctx, leaderWait)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		begun, err := t.begin()
		if !errors.Is(err, sarama.ErrNotLeaderForPartition) && !errors.Is(err, sarama.ErrLeaderNotAvailable) {
			return begun, err
		}
		select {
		case <-tick.C:
			_ = t.link.RefreshMetadata(t.topic.Name) // the next try says what is wrong
		case <-ctx.Done():
			return nil, err
		}
	}
}

func (t *tail) begin() (*tailing, error) {
	partitions, err := t.link.Partitions(t.topic.Name)
	if err != nil {
		return nil, err
	}
	consumer, err := sarama.NewConsumerFromClient(t.link.Client)
	if err != nil {
		return nil, err
	}
	begun := &tailing{ends: make(map[int32]int64), quit: make(chan struct{})}
	for _, p := range partitions {
		if err := t.read(begun, consumer, p); err != nil {
			begun.end()
			return nil, err
		}
	}
	return begun, nil
}

func (t *tail) read(begun *tailing, consumer sarama.Consumer, p int32) error {
	from := sarama.OffsetNewest
	if t.opts.Oldest {
		from = sarama.OffsetOldest
		oldest, err := t.link.GetOffset(t.topic.Name, p, sarama.OffsetOldest)
		if err != nil {
			return err
		}
		newest, err := t.link.GetOffset(t.topic.Name, p, sarama.OffsetNewest)
		if err != nil {
			return err
		}
		if oldest < newest {
			begun.ends[p] = newest
		}
	}
	feed, err := consumer.ConsumePartition(t.topic.Name, p, from)
	if err != nil {
		return err
	}
	begun.feeds = append(begun.feeds, feed)
	begun.work.Go(func() {
		for record := range feed.Messages() {
			select {
			case t.records <- record:
			case <-begun.quit:
			}
		}
	})
	return nil
}

// end stops the reading and waits for it.
func (t *tailing) end() {
	close(t.quit)
	for _, feed := range t.feeds {
		feed.AsyncClose()
	}
	t.work.Wait()
}

func (t *tail) show(ctx context.Context, begun *tailing, f func(*message.Message) error) error {
	for t.opts.Follow || !t.opts.Oldest || len(begun.ends) > 0 {
		var idle <-chan time.Time
		if t.opts.Oldest && !t.opts.Follow {
			idle = time.After(tailIdle)
		}
		select {
		case record := <-t.records:
			if err := f(t.message(ctx, record)); err != nil {
				return err
			}
			if end, ok := begun.ends[record.Partition]; ok && record.Offset+1 >= end {
				delete(begun.ends, record.Partition)
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-idle:
			if t.b.health.get().Connected {
				return nil
			}
		}
	}
	return nil
}

func (t *tail) message(ctx context.Context, record *sarama.ConsumerMessage) *message.Message {
	msg, _ := decode(t.topic, record)
	msg.SetContext(pipeline.WithOrigin(ctx, &pipeline.Origin{
		Topic: t.topic.Name, Partition: record.Partition, Offset: record.Offset,
	}))
	return msg
}
