package kafkabroker

import (
	"context"
	"fmt"

	"github.com/IBM/sarama"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

var _ broker.Historian = (*Broker)(nil)

// HadMessages implements broker.Historian: offsets go on counting after
// retention has taken the messages.
func (b *Broker) HadMessages(ctx context.Context, topic pipeline.Topic) (bool, error) {
	found, err := b.lookUp(ctx, topic.Name)
	if err != nil || found == nil {
		return false, err
	}
	var had bool
	err = b.administer(ctx, func(admin sarama.ClusterAdmin) error {
		newest, err := listOffsets(admin, topic.Name, found.partitions, sarama.OffsetNewest)
		for _, end := range newest {
			had = had || end > 0
		}
		return err
	})
	if err != nil {
		return false, fmt.Errorf("look for messages on %s: %w", topic.Name, err)
	}
	return had, nil
}
