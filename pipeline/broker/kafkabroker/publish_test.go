package kafkabroker

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// A topic whose limit is below that of our batches refuses whole batches.
// The messages in them are published all the same, each for itself, and only
// one that is too large by itself fails.
func TestPublish_TopicWithASmallLimit(t *testing.T) {
	t.Parallel()
	c := cluster(kafkaBrokers(t))
	b := newRig(t, c, 2)
	require.NoError(t, b.admin(t).IncrementalAlterConfig(sarama.TopicResource, b.topic.Name,
		map[string]sarama.IncrementalAlterConfigsEntry{
			"max.message.bytes": {Operation: sarama.IncrementalAlterConfigsOperationSet, Value: ptr("2000")},
		}, false))
	driver := b.start("p")
	for round := range 2 {
		var msgs []*message.Message
		for n := range 200 {
			payload := make([]byte, 500)
			if n == 77 {
				payload = make([]byte, 5000)
			}
			msgs = append(msgs, message.NewMessage(fmt.Sprintf("%d-%d", round, n), payload))
		}
		err := driver.Publisher().Publish(b.topic.Name, msgs...)
		var failed *broker.PublishError
		require.ErrorAs(t, err, &failed)
		for n, err := range failed.Errs {
			if n != 77 {
				require.NoError(t, err, "message %d", n)
				continue
			}
			require.Equal(t, pipeline.ReasonTooLarge, pipeline.ReasonOf(err))
			require.True(t, pipeline.IsPermanent(err))
			require.ErrorContains(t, err, "max.message.bytes")
		}
	}
	require.Len(t, b.read(t, b.topic.Name, 398), 398)
}

// Large messages pass where the topic says that it has such.
func TestPublish_LargeMessages(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1, func(s *broker.Subscription) { s.Topic.MaxMessage = 5 << 20 })
	driver := b.start("p")
	require.NoError(t, driver.Publisher().Publish(b.topic.Name,
		message.NewMessage("small", []byte("x")), message.NewMessage("large", make([]byte, 4<<20))))
	got := make(chan int, 2)
	b.consume(driver, func(msg *message.Message) { got <- len(msg.Payload); msg.Ack() })
	require.Equal(t, 4<<20+1, receive(t, got)+receive(t, got))
}

// A topic of the config that the cluster does not have is unroutable for
// good, and says what to do.
func TestPublish_TopicIsNotThere(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1)
	b.topic.Name += "-missing"
	driver := b.start("p")
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	for range 5 { // sarama stops asking for ten seconds after the third
		msg := message.NewMessage("1", nil)
		msg.SetContext(ctx)
		err := driver.Publisher().Publish(b.topic.Name, msg)
		require.Equal(t, pipeline.ReasonUnroutable, pipeline.ReasonOf(err), "%v", err)
		require.True(t, pipeline.IsPermanent(err))
		require.ErrorContains(t, err, "provision")
	}
	require.NoError(t, driver.Provision(ctx, []pipeline.Topic{b.topic}, nil))
	defer b.remove(t, []pipeline.Topic{b.topic}, nil)
	b.eventually(func() bool { return driver.Publisher().Publish(b.topic.Name, message.NewMessage("1", nil)) == nil },
		"it is found once it is there")
}

// The key decides the partition, and the record carries it as other clients
// expect it.
func TestPublish_KeysAreRecordKeys(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 4, func(s *broker.Subscription) { s.Topic.Key = []string{"/id"} })
	driver := b.start("p")
	var msgs []*message.Message
	for n := range 40 {
		msgs = append(msgs, message.NewMessage(strconv.Itoa(n), []byte(`{"id":"o-`+strconv.Itoa(n%10)+`"}`)))
	}
	require.NoError(t, driver.Publisher().Publish(b.topic.Name, msgs...))
	for _, record := range b.read(t, b.topic.Name, 40) {
		n, err := strconv.Atoi(string(record.Headers[0].Value))
		require.NoError(t, err)
		require.Equal(t, "o-"+strconv.Itoa(n%10), string(record.Key))
		require.EqualValues(t, partitionOf(t, string(record.Key), 4), record.Partition)
	}
}

func ptr[T any](v T) *T { return &v }
