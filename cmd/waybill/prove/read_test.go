package prove

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/IBM/sarama"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"
)

func decode(t *testing.T, payload []byte) record {
	t.Helper()
	var r record
	require.NoErrorf(t, json.Unmarshal(payload, &r), "%s", payload)
	return r
}

// readByTail is for the embedded broker, whose file only Waybill reads.
func readByTail(t *testing.T, p *plant, topic string) [][]byte {
	t.Helper()
	// More than there are: it prints what is there, and says with 1 that
	// there is no more.
	text, code := p.command(t, nil, "tail", topic, "--config", p.config, "--from", "oldest", "-n", "1000000000")
	require.Equal(t, 1, code)
	var all [][]byte
	for line := range strings.Lines(text) {
		all = append(all, []byte(strings.TrimSuffix(line, "\n")))
	}
	return all
}

// readRabbit empties the queue that has the topic's name.
func readRabbit(t *testing.T, p *plant, topic string) [][]byte {
	t.Helper()
	conn, err := amqp.Dial(p.url)
	require.NoError(t, err)
	defer conn.Close()
	ch, err := conn.Channel()
	require.NoError(t, err)
	q, err := ch.QueueDeclarePassive(topic, true, false, false, false, nil)
	require.NoError(t, err)
	deliveries, err := ch.Consume(topic, "", true, false, false, false, nil)
	require.NoError(t, err)
	all := make([][]byte, 0, q.Messages)
	for {
		select {
		case d, ok := <-deliveries:
			require.True(t, ok, "the channel ended")
			all = append(all, d.Body)
		case <-time.After(2 * time.Second):
			require.GreaterOrEqual(t, len(all), q.Messages)
			return all
		}
	}
}

// readKafka reads every partition to its end. Order is kept per partition,
// and with it per key.
func readKafka(t *testing.T, p *plant, topic string) [][]byte {
	t.Helper()
	config := sarama.NewConfig()
	config.Version = sarama.V2_8_0_0
	client, err := sarama.NewClient(strings.Split(p.url, ","), config)
	require.NoError(t, err)
	defer client.Close()
	consumer, err := sarama.NewConsumerFromClient(client)
	require.NoError(t, err)
	defer consumer.Close()
	partitions, err := client.Partitions(topic)
	require.NoError(t, err)
	var all [][]byte
	for _, partition := range partitions {
		end, err := client.GetOffset(topic, partition, sarama.OffsetNewest)
		require.NoError(t, err)
		if end == 0 {
			continue
		}
		pc, err := consumer.ConsumePartition(topic, partition, sarama.OffsetOldest)
		require.NoError(t, err)
		for next := int64(0); next < end; {
			select {
			case m := <-pc.Messages():
				all, next = append(all, m.Value), m.Offset+1
			case <-time.After(30 * time.Second):
				require.Fail(t, "kafka gave no more", fmt.Sprint(topic, partition, next, end))
			}
		}
		require.NoError(t, pc.Close())
	}
	return all
}
