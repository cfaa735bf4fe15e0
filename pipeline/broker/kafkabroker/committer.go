package kafkabroker

import (
	"errors"
	"fmt"

	"github.com/IBM/sarama"
)

// committer reads and writes what a group has done of a topic's partitions.
//
// sarama's own way, MarkOffset and Commit, gives no answer to the one who
// commits, ignores new metadata at an unchanged offset, and waits while the
// group rebalances. This one sends the request itself, over the control
// client's connection, and returns the coordinator's answer.
type committer struct {
	b        *Broker
	group    string
	instance string
	topic    string
}

// membership is what fences commits: those of a member that was pushed out
// are refused. sarama's session is one; nil is for a group without members.
type membership interface {
	MemberID() string
	GenerationID() int32
}

// errLost says that the partition is not ours any more: what is done and not
// committed will be handed out again, maybe elsewhere.
var errLost = errors.New("the group has gone on without this member")

// read returns the committed position of the partition. Damaged metadata is
// reported in the log and not an error.
func (c *committer) read(partition int32) (position, error) {
	positions, err := c.readAll([]int32{partition})
	if err != nil {
		return position{}, err
	}
	return positions[partition], nil
}

func (c *committer) readAll(partitions []int32) (map[int32]position, error) {
	request := sarama.NewOffsetFetchRequest(c.b.config.Version, c.group, map[string][]int32{c.topic: partitions})
	var response *sarama.OffsetFetchResponse
	err := c.b.coordinate(c.group, func(coordinator *sarama.Broker) (err error) {
		if response, err = coordinator.FetchOffset(request); err != nil {
			return err
		}
		return errorOf(response.GroupError())
	})
	if err != nil {
		return nil, fmt.Errorf("read offsets of %s: %w", c.group, err)
	}
	positions := make(map[int32]position, len(partitions))
	for _, partition := range partitions {
		block := response.GetBlock(c.topic, partition)
		if block == nil {
			return nil, fmt.Errorf("read offsets of %s: %w", c.group, sarama.ErrIncompleteResponse)
		}
		if block.Err != sarama.ErrNoError {
			return nil, fmt.Errorf("read offsets of %s: %w", c.group, block.Err)
		}
		p, err := parsePosition(block.Offset, block.Metadata)
		if err != nil {
			c.b.log.Warn("what is done above the committed offset cannot be read; it will be done again",
				"group", c.group, "topic", c.topic, "partition", partition, "error", err)
		}
		positions[partition] = p
	}
	return positions, nil
}

// write commits positions. An error that wraps errLost is final.
func (c *committer) write(as membership, positions map[int32]position) error {
	err := c.writeWith(as, positions, position.metadata)
	if errors.Is(err, sarama.ErrOffsetMetadataTooLarge) {
		c.b.health.incident(fmt.Sprintf("group %s: the broker refuses %d bytes of commit metadata; a restart will repeat "+
			"what was done out of order: set the broker's offset.metadata.max.bytes to %d", c.group, maxMetadata, maxMetadata))
		err = c.writeWith(as, positions, func(position) string { return "" })
	}
	return err
}

func (c *committer) writeWith(as membership, positions map[int32]position, metadata func(position) string) error {
	request := sarama.NewOffsetCommitRequest(c.b.config, c.group)
	if as != nil {
		request.ConsumerID, request.ConsumerGroupGeneration = as.MemberID(), as.GenerationID()
		if c.instance != "" {
			request.GroupInstanceId = &c.instance
		}
	}
	for partition, p := range positions {
		request.AddBlockWithLeaderEpoch(c.topic, partition, p.next, -1, 0, metadata(p))
	}
	err := c.b.coordinate(c.group, func(coordinator *sarama.Broker) error {
		response, err := coordinator.CommitOffset(request)
		if err != nil {
			return err
		}
		for partition := range positions {
			kerr, ok := response.Errors[c.topic][partition]
			if !ok {
				return sarama.ErrIncompleteResponse
			}
			if kerr != sarama.ErrNoError {
				return kerr
			}
		}
		return nil
	})
	switch {
	case err == nil:
		return nil
	case errors.Is(err, sarama.ErrIllegalGeneration), errors.Is(err, sarama.ErrUnknownMemberId),
		errors.Is(err, sarama.ErrFencedInstancedId):
		err = fmt.Errorf("%w: %w", errLost, err)
	}
	return fmt.Errorf("commit offsets of %s: %w", c.group, err)
}

// leave takes the member out of the group, so that its partitions go to
// others at once. sarama does not do so for a member with an instance name.
func (c *committer) leave(as membership) error {
	member := sarama.MemberIdentity{MemberId: as.MemberID()}
	if c.instance != "" {
		member.GroupInstanceId = &c.instance
	}
	request := &sarama.LeaveGroupRequest{Version: 4, GroupId: c.group, Members: []sarama.MemberIdentity{member}}
	err := c.b.coordinate(c.group, func(coordinator *sarama.Broker) error {
		response, err := coordinator.LeaveGroup(request)
		if err != nil {
			return err
		}
		return errorOf(response.Err)
	})
	if err != nil {
		return fmt.Errorf("leave group %s: %w", c.group, err)
	}
	return nil
}

// coordinate asks the group's coordinator. If that has moved or gone, the next
// call looks for it anew.
func (b *Broker) coordinate(group string, ask func(*sarama.Broker) error) error {
	coordinator, err := b.control.Coordinator(group)
	if err != nil {
		return err
	}
	err = ask(coordinator)
	var answer sarama.KError
	switch {
	case err == nil:
	case !errors.As(err, &answer): // no answer: the connection is of no more use
		_ = coordinator.Close()
		_ = b.control.RefreshCoordinator(group)
	case errors.Is(err, sarama.ErrNotCoordinatorForConsumer), errors.Is(err, sarama.ErrConsumerCoordinatorNotAvailable):
		_ = b.control.RefreshCoordinator(group)
	}
	return err
}

func errorOf(answer sarama.KError) error {
	if answer == sarama.ErrNoError {
		return nil
	}
	return answer
}
