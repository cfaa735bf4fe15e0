package peer

import (
	"context"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/handlers/prepare"
	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
)

// TestEnvelope: it is what Waybill's chain gives an output of the job.
func TestEnvelope(t *testing.T) {
	t.Parallel()
	kind, err := prepare.Kind().New(pipeline.Env{Version: "0123456789ab"}, &prepare.Config{})
	require.NoError(t, err)
	want := map[string]string{}
	publish := middleware.Publish{
		Handler: "prepare", Topics: map[string]string{"": "out"},
		Send: func(_ context.Context, _ *message.Message, out []middleware.Output, _ []pipeline.Write) ([]error, error) {
			require.Len(t, out, 1)
			want[job.IDHeader] = out[0].Message.UUID
			for name, value := range out[0].Message.Metadata {
				want[name] = value
			}
			return make([]error, 1), nil
		},
	}
	order := pipeline.NewMessage(job.ID(7), job.Orders{Keys: 10, Size: job.DefaultSize}.Order(7, time.Time{}), nil)
	order.Metadata.Set(job.KeyHeader, "k") // as on Kafka
	_, err = publish.Middleware(kind)(order)
	require.NoError(t, err)

	p := amqp.Publishing{Headers: amqp.Table{job.IDHeader: job.ID(7)}}
	enclose(&p)
	require.Equal(t, want[job.IDHeader], p.MessageId)
	onRabbit := map[string]string{}
	for name, value := range p.Headers {
		onRabbit[name], _ = value.(string)
	}
	onKafka := map[string]string{}
	for _, h := range envelopeOf([]sarama.RecordHeader{
		{Key: []byte(job.IDHeader), Value: []byte(job.ID(7))}, {Key: []byte(job.KeyHeader), Value: []byte("k")},
	}) {
		onKafka[string(h.Key)] = string(h.Value)
	}
	require.Equal(t, want, onKafka)
	delete(want, job.KeyHeader)
	require.Equal(t, want, onRabbit)
}
