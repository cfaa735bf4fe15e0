package dashboard

import (
	"strings"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Message is a message as tail and the API show it. The payload is a string
// as it is, or base64 where it is not UTF-8.
type Message struct {
	ID            string            `json:"id"`
	Topic         string            `json:"topic"`
	Key           string            `json:"key"`
	Metadata      map[string]string `json:"metadata"`
	Payload       *string           `json:"payload,omitzero"`
	PayloadBase64 []byte            `json:"payload_base64,omitzero"`
}

// NewMessage is msg, as it was read from topic.
func NewMessage(topic pipeline.Topic, msg *message.Message) Message {
	m := Message{
		ID: readable(msg.UUID), Topic: topic.Name, Key: readable(broker.Key(topic, msg)),
		Metadata: make(map[string]string, len(msg.Metadata)),
	}
	for k, v := range msg.Metadata {
		m.Metadata[readable(k)] = readable(v)
	}
	if text := string(msg.Payload); utf8.ValidString(text) {
		m.Payload = &text
	} else {
		m.PayloadBase64 = msg.Payload
	}
	return m
}

// readable shows text that came as other bytes; JSON has no others.
func readable(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// Bytes returns the payload as it was.
func (m Message) Bytes() []byte {
	if m.Payload != nil {
		return []byte(*m.Payload)
	}
	return m.PayloadBase64
}
