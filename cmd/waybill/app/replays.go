package app

import (
	"context"
	"log/slog"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/handlers/generic"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/replay"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// newReplays returns what carries out replays. One that is never started needs
// neither brokers nor anybody to tell.
func newReplays(p pipeline.Pipeline, s store.Store, brokers map[string]broker.Broker, requeued func(string, []string), log *slog.Logger) *replay.Runner {
	topic := func(name string) (pipeline.Topic, bool) { t, ok := p.Topics[name]; return t, ok }
	return replay.New(replay.Options{
		Store: s, Topic: topic, Transform: transform, Requeued: requeued, Log: log,
		Handler: func(name string) (pipeline.Handler, bool) {
			for _, h := range p.Handlers {
				if h.Name == name {
					return h, true
				}
			}
			return pipeline.Handler{}, false
		},
		Publish: func(_ context.Context, name string, msgs []*message.Message) []error {
			t, _ := topic(name)
			return broker.Each(brokers[t.Broker].Publisher().Publish(name, msgs...), len(msgs))
		},
	})
}

// transform compiles the edit of a replay.
func transform(source string) (replay.Edit, error) {
	t, err := generic.CompileTransform(source)
	if err != nil {
		return nil, err
	}
	return func(c store.Content) (store.Content, error) {
		payload, err := t.Payload(c.Headers, c.Payload)
		return store.Content{Headers: c.Headers, Payload: payload}, err
	}, nil
}
