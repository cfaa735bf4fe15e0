package kafkabroker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/IBM/sarama"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Inspect reports how far the subscriptions are behind, and how much the
// topics hold that none of them reads. See broker.Admin. What is in flight is
// known to the members alone, and counts as ready here.
func (b *Broker) Inspect(ctx context.Context, topics []pipeline.Topic, subs []broker.Subscription) ([]broker.Status, error) {
	var rows []broker.Status
	read := make(map[string]bool)
	for _, sub := range subs {
		read[sub.Topic.Name] = true
		row, err := b.inspect(ctx, sub.Topic, sub.Name)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", sub.Name, err)
		}
		rows = append(rows, row)
	}
	for _, topic := range topics {
		if read[topic.Name] {
			continue
		}
		row, err := b.inspect(ctx, topic, "")
		if err != nil {
			return nil, fmt.Errorf("inspect topic %s: %w", topic.Name, err)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// inspect reports on a group's reading of a topic; group "": on the topic.
func (b *Broker) inspect(ctx context.Context, topic pipeline.Topic, group string) (broker.Status, error) {
	row := broker.Status{Name: group, Topic: topic.Name, Ready: -1, InFlight: -1, Consumers: -1}
	if group == "" {
		row.Name = topic.Name
	}
	found, err := b.lookUp(ctx, topic.Name)
	if err != nil {
		return row, err
	}
	if found == nil {
		row.Problems = append(row.Problems, fmt.Sprintf("topic %s is not there; create it, or set its provision to create", topic.Name))
		return row, nil
	}
	row.Bindings = []string{fmt.Sprintf("topic %s, partitions %d, replicas %d", topic.Name, found.partitions, found.replicas)}
	for _, d := range found.drift(topic) {
		row.Problems = append(row.Problems, d.Error())
	}
	err = b.administer(ctx, func(admin sarama.ClusterAdmin) error {
		return b.count(admin, topic.Name, group, found.partitions, &row)
	})
	if err != nil {
		return broker.Status{}, err // row may be written still: an answer that nobody waited for
	}
	return row, nil
}

func (b *Broker) count(admin sarama.ClusterAdmin, topic, group string, partitions int, row *broker.Status) error {
	oldest, err := listOffsets(admin, topic, partitions, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	newest, err := listOffsets(admin, topic, partitions, sarama.OffsetNewest)
	if err != nil {
		return err
	}
	var done map[int32]position
	if group != "" {
		c := committer{b: b, group: group, topic: topic}
		if done, err = c.readAll(slices.Sorted(maps.Keys(newest))); err != nil {
			return err
		}
		if row.Consumers, err = members(admin, group); err != nil {
			return err
		}
	}
	row.Ready = 0
	for partition, end := range newest {
		at, ok := done[partition]
		if !ok || at.next < oldest[partition] {
			at.next = oldest[partition]
		}
		row.Ready += max(0, end-at.next)
		for _, offset := range at.above {
			if offset >= at.next && offset < end {
				row.Ready--
			}
		}
	}
	return nil
}

func listOffsets(admin sarama.ClusterAdmin, topic string, partitions int, at int64) (map[int32]int64, error) {
	ask := make(map[int32]int64, partitions)
	for p := range partitions {
		ask[int32(p)] = at //nolint:gosec // a small number
	}
	answer, err := admin.ListOffsets(map[string]map[int32]int64{topic: ask}, nil)
	if err != nil {
		return nil, err
	}
	offsets := make(map[int32]int64, partitions)
	for p := range ask {
		result := answer[topic][p]
		if result == nil {
			return nil, sarama.ErrIncompleteResponse
		}
		if !errors.Is(result.Err, sarama.ErrNoError) {
			return nil, result.Err
		}
		offsets[p] = result.Offset
	}
	return offsets, nil
}

// members counts who reads as the group.
func members(admin sarama.ClusterAdmin, group string) (int, error) {
	described, err := admin.DescribeConsumerGroups([]string{group})
	if err != nil {
		return 0, err
	}
	for _, g := range described {
		if g.GroupId != group || errors.Is(g.Err, sarama.ErrGroupIDNotFound) {
			continue
		}
		if g.Err != sarama.ErrNoError {
			return 0, g.Err
		}
		return len(g.Members), nil
	}
	return 0, nil
}
