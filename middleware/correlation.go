package middleware

import (
	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// Correlation gives the message its pipeline.Identity, which the log lines
// and the outputs take over. A message that came without a correlation id
// begins a conversation of its own. The message itself is not changed.
func Correlation(h message.HandlerFunc) message.HandlerFunc {
	return func(msg *message.Message) ([]*message.Message, error) {
		id := pipeline.Identity{Message: msg.UUID, Correlation: conversation(msg)}
		msg.SetContext(pipeline.WithIdentity(msg.Context(), id))
		return h(msg)
	}
}

// conversation is the message's correlation id, or its own id where it came
// without one and so begins a conversation.
func conversation(msg *message.Message) string {
	if id := pipeline.CorrelationID(msg); id != "" {
		return id
	}
	return msg.UUID
}
