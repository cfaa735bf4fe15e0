package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// BatchItem is one message of a batch.
type BatchItem struct {
	ID            string            `json:"id,omitempty" doc:"default: a new one"`
	Key           string            `json:"key,omitempty" doc:"orders the message on its topic"`
	Metadata      map[string]string `json:"metadata,omitempty"`
	Payload       *string           `json:"payload,omitzero" doc:"the payload as text"`
	PayloadBase64 []byte            `json:"payload_base64,omitzero" doc:"or its bytes"`
}

// BatchResult is what became of one message of a batch.
type BatchResult struct {
	ID     string          `json:"id"`
	Error  string          `json:"error,omitempty" doc:"why it is not published; empty: the broker has confirmed it"`
	Reason pipeline.Reason `json:"reason,omitempty"`
}

// bodyTimeout is how long a body may take to arrive.
const bodyTimeout = time.Minute

type batchInput struct {
	Topic string `path:"topic" doc:"a topic of the config"`
	Body  struct {
		Messages []BatchItem `json:"messages" minItems:"1" maxItems:"10000"`
	}
	RawBody []byte
}

// Resolve refuses what would be published as other bytes than were sent.
func (in *batchInput) Resolve(huma.Context) []error {
	if !utf8.Valid(in.RawBody) {
		return []error{&huma.ErrorDetail{Location: "body", Message: "the body is not UTF-8: send payloads that are not text as payload_base64"}}
	}
	for i, item := range in.Body.Messages {
		if (item.Payload == nil) == (item.PayloadBase64 == nil) {
			return []error{&huma.ErrorDetail{
				Location: fmt.Sprintf("body.messages[%d]", i), Message: "give either payload or payload_base64",
			}}
		}
	}
	return nil
}

type batchOutput struct {
	Body struct {
		Results []BatchResult `json:"results" doc:"in the order of the messages"`
	}
}

func registerBatch(api huma.API, opts Options) {
	huma.Register(api, huma.Operation{
		OperationID: "publish-batch", Method: http.MethodPost, Path: "/api/v1/topics/{topic}/batch",
		Summary: "Publish many messages", DefaultStatus: http.StatusAccepted, MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
		Description: "In the order given, all in flight at once. Each has its own result: some may be confirmed though others are not.",
		Errors:      []int{http.StatusNotFound, http.StatusServiceUnavailable},
	}, func(ctx context.Context, in *batchInput) (*batchOutput, error) {
		topic, b, err := open(opts, in.Topic)
		if err != nil {
			return nil, apiError(err)
		}
		ctx, cancel := context.WithTimeout(ctx, publishTimeout)
		defer cancel()
		msgs := make([]*message.Message, len(in.Body.Messages))
		for i, item := range in.Body.Messages {
			msgs[i] = item.message(ctx)
		}
		errs := broker.Each(b.Publisher().Publish(topic.Name, msgs...), len(msgs))
		out := &batchOutput{}
		for i, msg := range msgs {
			r := BatchResult{ID: msg.UUID}
			if errs[i] != nil {
				r.Error, r.Reason = errs[i].Error(), pipeline.ReasonOf(errs[i])
			}
			out.Body.Results = append(out.Body.Results, r)
		}
		return out, nil
	})
}

func (item BatchItem) message(ctx context.Context) *message.Message {
	payload := item.PayloadBase64
	if item.Payload != nil {
		payload = []byte(*item.Payload)
	}
	id := item.ID
	if id == "" {
		id = uuid.Must(uuid.NewV7()).String()
	}
	msg := message.NewMessageWithContext(ctx, id, payload)
	for k, v := range item.Metadata {
		msg.Metadata.Set(k, v)
	}
	if item.Key != "" {
		msg.Metadata.Set(pipeline.MetaPartitionKey, item.Key)
	}
	return msg
}

// open finds a topic's broker, and refuses at once what it would refuse.
func open(opts Options, name string) (pipeline.Topic, broker.Broker, error) {
	topic, b, err := find(opts, name)
	if err != nil {
		return topic, nil, err
	}
	if health := b.Health(); health.Blocked != "" {
		return topic, nil, pipeline.WithReason(
			fmt.Errorf("broker %s refuses publishes: %s: send it again later", topic.Broker, health.Blocked), pipeline.ReasonUnavailable)
	}
	return topic, b, nil
}
