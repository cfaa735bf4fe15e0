package kafkabroker

import (
	"strings"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
)

// The hashes are those of org.apache.kafka.common.utils.UtilsTest.testMurmur2.
// A Java producer takes hash & 0x7fffffff modulo the number of partitions.
func TestPartitioner_KeysGoWhereJavaPutsThem(t *testing.T) {
	t.Parallel()
	hashes := map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
		"abc": 479470107,
	}
	for key, hash := range hashes {
		for _, partitions := range []int32{1, 4, 7, 1000} {
			p := newPartitioner("t")
			got, err := p.Partition(&sarama.ProducerMessage{Key: sarama.StringEncoder(key)}, partitions)
			require.NoError(t, err)
			require.Equal(t, hash&0x7fffffff%partitions, got, "%q over %d", key, partitions)
		}
	}
}

func TestPartitioner_NoKeySticksAndMovesOn(t *testing.T) {
	t.Parallel()
	p := newPartitioner("t")
	count := make(map[int32]int)
	changes, last := 0, int32(-1)
	for range 1000 {
		msg := &sarama.ProducerMessage{Value: sarama.StringEncoder(strings.Repeat("x", 1000))}
		require.False(t, p.(sarama.DynamicConsistencyPartitioner).MessageRequiresConsistency(msg))
		got, err := p.Partition(msg, 4)
		require.NoError(t, err)
		if got != last {
			changes++
		}
		last = got
		count[got]++
	}
	require.Len(t, count, 4)
	for partition, n := range count {
		require.InDelta(t, 250, n, 20, "partition %d", partition)
	}
	require.Less(t, changes, 100, "batches are long")
	_, err := p.Partition(&sarama.ProducerMessage{}, 2) // fewer than before
	require.NoError(t, err)
}
