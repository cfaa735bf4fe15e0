package kafkabroker

import (
	"context"
	"errors"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/waybill-dev/waybill/pipeline/broker"
)

// begin gives a new subscription that starts elsewhere than at the oldest
// message its place, by committing it: from then on nothing that is published
// passes by, whether the subscription is being read yet or not. A group that
// has committed anything keeps its place. A group with members has one too,
// or is being given one by them.
func (b *Broker) begin(ctx context.Context, sub broker.Subscription) error {
	if !sub.Start.Newest && sub.Start.Time.IsZero() {
		return nil // sarama's Offsets.Initial does it
	}
	err := b.ask(ctx, func() error { return b.place(sub) })
	if err != nil && !errors.Is(err, errLost) {
		return fmt.Errorf("place %s at its start: %w", sub.Name, err)
	}
	return nil
}

func (b *Broker) place(sub broker.Subscription) error {
	partitions, err := b.control.Partitions(sub.Topic.Name)
	if err != nil {
		return err
	}
	group := committer{b: b, group: sub.Name, topic: sub.Topic.Name}
	committed, err := group.readAll(partitions)
	if err != nil {
		return err
	}
	for _, at := range committed {
		if at.next >= 0 {
			return nil
		}
	}
	at := sarama.OffsetNewest
	if !sub.Start.Newest {
		at = sub.Start.Time.UnixMilli()
	}
	for _, partition := range partitions {
		next, err := b.offsetAt(sub.Topic.Name, partition, at)
		if err != nil {
			return err
		}
		committed[partition] = position{next: next, clean: true}
	}
	return group.write(nil, committed)
}

// offsetAt returns the offset of the first message at or after a time in
// milliseconds, or of what sarama's constants say; past the last message, the
// end.
func (b *Broker) offsetAt(topic string, partition int32, at int64) (int64, error) {
	offset, err := b.control.GetOffset(topic, partition, at)
	if err == nil && offset < 0 {
		offset, err = b.control.GetOffset(topic, partition, sarama.OffsetNewest)
	}
	if err != nil {
		return 0, fmt.Errorf("read offset of %s/%d: %w", topic, partition, err)
	}
	return offset, nil
}

// topicMissing asks the cluster whether it does not know the topic. If it
// cannot be asked, or knows the topic and is only electing a leader, it is
// not missing.
func (b *Broker) topicMissing(ctx context.Context, topic string) bool {
	err := b.ask(ctx, func() error { return b.control.RefreshMetadata(topic) })
	return errors.Is(err, sarama.ErrUnknownTopicOrPartition) || errors.Is(err, sarama.ErrInvalidTopic)
}
