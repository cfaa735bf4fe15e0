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
// or is being given one by them. A leftover gets none; see begun.
func (b *Broker) begin(ctx context.Context, sub broker.Subscription) error {
	if sub.Leftover {
		return b.ask(ctx, func() error { return b.begun(sub) })
	}
	if fromOldest(sub) {
		return nil // sarama's Offsets.Initial does it
	}
	err := b.ask(ctx, func() error { return b.place(sub) })
	if err != nil && !errors.Is(err, errLost) {
		return fmt.Errorf("place %s at its start: %w", sub.Name, err)
	}
	return nil
}

func fromOldest(sub broker.Subscription) bool { return !sub.Start.Newest && sub.Start.Time.IsZero() }

// begun asks for a subscription's place, which it has since it was made,
// unless it starts at the oldest message and never finished one. Any other
// without a place was never here, or under another name; to give it one would
// skip what waits.
func (b *Broker) begun(sub broker.Subscription) error {
	committed, err := b.committed(sub)
	switch {
	case err != nil:
		return fmt.Errorf("look for %s: %w", sub.Name, err)
	case hasPlace(committed):
	case fromOldest(sub):
		b.log.Warn("the group has committed nothing: all that is retained is read", "group", sub.Name, "topic", sub.Topic.Name)
	default:
		return unroutable("group %s: %w: it has committed nothing on topic %s: check the handler's name and the broker's group_prefix, "+
			"or set start: oldest to read all that is retained", sub.Name, broker.ErrMissing, sub.Topic.Name)
	}
	return nil
}

func (b *Broker) place(sub broker.Subscription) error {
	committed, err := b.committed(sub)
	if err != nil || hasPlace(committed) {
		return err
	}
	at := sarama.OffsetNewest
	if !sub.Start.Newest {
		at = sub.Start.Time.UnixMilli()
	}
	for partition := range committed {
		next, err := b.offsetAt(sub.Topic.Name, partition, at)
		if err != nil {
			return err
		}
		committed[partition] = position{next: next, clean: true}
	}
	group := committer{b: b, group: sub.Name, topic: sub.Topic.Name}
	return group.write(nil, committed)
}

// committed returns the subscription's position in each partition.
func (b *Broker) committed(sub broker.Subscription) (map[int32]position, error) {
	partitions, err := b.control.Partitions(sub.Topic.Name)
	if err != nil {
		return nil, err
	}
	group := committer{b: b, group: sub.Name, topic: sub.Topic.Name}
	return group.readAll(partitions)
}

func hasPlace(committed map[int32]position) bool {
	for _, at := range committed {
		if at.next >= 0 {
			return true
		}
	}
	return false
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
