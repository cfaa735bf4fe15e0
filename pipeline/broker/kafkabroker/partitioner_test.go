package kafkabroker

import (
	"testing"

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
		for _, partitions := range []int{1, 4, 7, 1000} {
			var p partitioner
			require.Equal(t, int(hash&0x7fffffff)%partitions, p.choose([]byte(key), 100, partitions), "%q over %d", key, partitions)
		}
	}
}

func TestPartitioner_NoKeySticksAndMovesOn(t *testing.T) {
	t.Parallel()
	var p partitioner
	count := make(map[int]int)
	changes, last := 0, -1
	for range 1000 {
		got := p.choose(nil, 1000, 4)
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
	require.Less(t, p.choose(nil, 1000, 2), 2) // fewer than before
}
