package kafkabroker

import "github.com/IBM/sarama"

// stickFor is how many bytes without a key go to one partition before the
// next one's turn: the batch size at which Java producers move on.
const stickFor = 16 << 10

// partitioner puts a key where Java producers put it, murmur2 over the whole
// of the topic's partitions, so that producers of both kinds can share a
// topic. Records without a key stay with one partition for a while and then
// move to the next: large batches, evenly spread. sarama makes one for each
// topic and calls it from one goroutine.
type partitioner struct {
	keyed sarama.Partitioner
	next  int32
	sent  int
}

func newPartitioner(topic string) sarama.Partitioner {
	return &partitioner{keyed: sarama.NewMurmur2Partitioner(topic)}
}

func (p *partitioner) Partition(msg *sarama.ProducerMessage, partitions int32) (int32, error) {
	if msg.Key != nil {
		return p.keyed.Partition(msg, partitions)
	}
	chosen := p.next % partitions
	if p.sent += msg.ByteSize(recordVersion); p.sent >= stickFor {
		p.next, p.sent = (chosen+1)%partitions, 0
	}
	return chosen, nil
}

// RequiresConsistency is what sarama asks where it does not know the message.
func (p *partitioner) RequiresConsistency() bool { return true }

// MessageRequiresConsistency reports whether the partition must be chosen
// among all, not among those that have a leader now.
func (p *partitioner) MessageRequiresConsistency(msg *sarama.ProducerMessage) bool {
	return msg.Key != nil
}

var _ sarama.DynamicConsistencyPartitioner = (*partitioner)(nil)
