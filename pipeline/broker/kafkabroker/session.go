package kafkabroker

import (
	"github.com/IBM/sarama"
)

// session hands sarama's claims over, each a partition while it is ours. With
// cooperative rebalancing one session lasts through many: the claims of the
// partitions that stay here go on, and one that is revoked has its Messages
// closed while the session's context lives on.
type session struct {
	*member
	group sarama.ConsumerGroup
}

var _ sarama.ConsumerGroupHandler = (*session)(nil)

// Setup runs when the group has taken this member in.
func (s *session) Setup(as sarama.ConsumerGroupSession) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.last = as
	return nil
}

// Cleanup runs when all claims have ended.
func (s *session) Cleanup(sarama.ConsumerGroupSession) error { return nil }

// ConsumeClaim works on a partition until it is revoked, the session ends or
// the window drains. It never returns an error: that would end the session,
// and every other claim with it.
func (s *session) ConsumeClaim(as sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	s.count(1)
	defer s.count(-1)
	newPartition(s, as, claim).run()
	return nil
}
