package middleware

import (
	"context"

	"github.com/ThreeDotsLabs/watermill/message"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/waybill-dev/waybill/pipeline"
)

// Trace puts a consumer span around the handling of a message, child of the
// span that its metadata names (W3C traceparent). Without a Tracer it costs
// nothing, and the metadata travels on as it came.
type Trace struct {
	Tracer trace.Tracer // nil: no spans
	Topic  string
	Group  string
}

var w3c propagation.TraceContext

// Middleware wraps h.
func (t Trace) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if t.Tracer == nil {
		return h
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		ctx, span := t.start(msg)
		msg.SetContext(ctx)
		produced, err := h(msg)
		outcome := pipeline.OutcomeOf(msg.Context())
		return produced, outcome.Then(msg, err, func(_ *message.Message, o *pipeline.Outcome, err error) error {
			defer span.End()
			if o.Result == pipeline.ResultDead {
				span.SetAttributes(attribute.String("error.type", string(o.Reason)))
				span.SetStatus(codes.Error, string(o.Reason))
			}
			return err
		})
	}
}

func (t Trace) start(msg *message.Message) (context.Context, trace.Span) {
	parent := w3c.Extract(msg.Context(), propagation.MapCarrier(msg.Metadata))
	return t.Tracer.Start(parent, "process "+t.Topic,
		trace.WithSpanKind(trace.SpanKindConsumer),
		trace.WithAttributes(
			attribute.String("messaging.destination.name", t.Topic),
			attribute.String("messaging.consumer.group.name", t.Group),
			attribute.String("messaging.message.id", msg.UUID),
			attribute.String("messaging.operation.type", "process"),
		))
}

// inject writes the span of in into the metadata of an output.
func inject(out, in *message.Message) {
	if trace.SpanContextFromContext(in.Context()).IsValid() {
		w3c.Inject(in.Context(), propagation.MapCarrier(out.Metadata))
	}
}
