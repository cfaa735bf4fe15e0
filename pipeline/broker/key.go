package broker

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// Key returns what orders msg on its topic: metadata partitionkey, else the
// first of the topic's pointers that finds a scalar in the payload, as text.
// "" means that nothing does, also where the payload is not JSON.
func Key(topic pipeline.Topic, msg *message.Message) string {
	if key := msg.Metadata.Get(pipeline.MetaPartitionKey); key != "" {
		return key
	}
	key, _ := pointer.First(msg.Payload, topic.Key)
	return key
}
