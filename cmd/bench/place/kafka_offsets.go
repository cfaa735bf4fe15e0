package place

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/IBM/sarama"
)

// Depth asks once for the ends of all partitions.
func (s *kafkaSite) Depth(context.Context) (int, error) {
	ends, err := s.ends(s.spec.Out)
	n := 0
	for _, end := range ends {
		n += int(end)
	}
	return n, err
}

func (s *kafkaSite) ends(topic string) (map[int32]int64, error) {
	requests := make(map[*sarama.Broker]*sarama.OffsetRequest)
	for p := range int32(s.spec.Partitions) { //nolint:gosec // a handful
		leader, err := s.client.Leader(topic, p)
		if err != nil {
			return nil, fmt.Errorf("look at topic %s: %w", topic, err)
		}
		if requests[leader] == nil {
			requests[leader] = sarama.NewOffsetRequest(s.client.Config().Version)
		}
		requests[leader].AddBlock(topic, p, sarama.OffsetNewest, 1)
	}
	ends := make(map[int32]int64)
	for leader, request := range requests {
		response, err := leader.GetAvailableOffsets(request)
		if err != nil {
			return nil, fmt.Errorf("look at topic %s: %w", topic, err)
		}
		for p, block := range response.Blocks[topic] {
			if !errors.Is(block.Err, sarama.ErrNoError) {
				return nil, fmt.Errorf("look at topic %s: %w", topic, block.Err)
			}
			ends[p] = block.Offset
		}
	}
	return ends, nil
}

func (s *kafkaSite) Left(context.Context) (int, error) {
	ends, err := s.ends(s.spec.In)
	if err != nil {
		return 0, err
	}
	partitions := make([]int32, 0, len(ends))
	for p := range ends {
		partitions = append(partitions, p)
	}
	committed, err := s.admin.ListConsumerGroupOffsets(s.spec.Group, map[string][]int32{s.spec.In: partitions})
	if err != nil {
		return 0, fmt.Errorf("look at group %s: %w", s.spec.Group, err)
	}
	left := 0
	for p, end := range ends {
		left += int(end)
		if block := committed.GetBlock(s.spec.In, p); block != nil && block.Offset > 0 {
			left -= int(block.Offset)
		}
	}
	return left, nil
}

// awaitLeaders waits until the broker answers for all partitions of a new
// topic, which takes it a moment.
func (s *kafkaSite) awaitLeaders(ctx context.Context, topic string) error {
	ctx, enough := context.WithTimeout(ctx, leaderTimeout)
	defer enough()
	for {
		_, err := s.ends(topic)
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("await the partitions of a new topic: %w", err)
		case <-time.After(20 * time.Millisecond):
			_ = s.client.RefreshMetadata(topic) // what it finds is seen next time
		}
	}
}

const leaderTimeout = 30 * time.Second
