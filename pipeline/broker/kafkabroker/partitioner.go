package kafkabroker

import (
	"fmt"

	"github.com/IBM/sarama"
)

// stickFor is how many bytes without a key go to one partition before the
// next one's turn: the batch size at which Java producers move on.
const stickFor = 16 << 10

// partitioner puts a key where Java producers put it, murmur2 over the whole
// of the topic's partitions, so that producers of both kinds can share a
// topic. Records without a key stay with one partition for a while and then
// move to the next: large batches, evenly spread. The zero value is ready; it
// is for one topic, and one caller at a time.
type partitioner struct {
	keyed sarama.Partitioner
	probe sarama.ProducerMessage // with key, for keyed
	key   keyBytes
	next  int
	sent  int // bytes to next
}

// choose returns the number of the partition, of so many, for a record of that
// key and size.
func (p *partitioner) choose(key []byte, size, partitions int) int {
	if key != nil {
		return p.hashed(key, partitions)
	}
	chosen := p.next % partitions
	if p.sent += size; p.sent >= stickFor {
		p.next, p.sent = (chosen+1)%partitions, 0
	}
	return chosen
}

func (p *partitioner) hashed(key []byte, partitions int) int {
	if p.keyed == nil {
		p.keyed = sarama.NewMurmur2Partitioner("")
		p.probe.Key = &p.key
	}
	p.key = key
	chosen, err := p.keyed.Partition(&p.probe, int32(partitions)) //nolint:gosec // Kafka's numbers are int32
	p.key = nil                                                   // its memory is the caller's
	if err != nil {
		panic(fmt.Sprintf("hash a key of bytes: %v", err)) // neither they nor the hash can fail
	}
	return int(chosen)
}

// keyBytes is a key in sarama's words, without an allocation each time.
type keyBytes []byte

func (k *keyBytes) Encode() ([]byte, error) { return *k, nil }
func (k *keyBytes) Length() int             { return len(*k) }
