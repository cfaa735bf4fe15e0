package messagelog

import (
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/pipeline/pointer"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// hidden stands where a masked value was.
const hidden = `"***"`

// content is what may be kept of a message.
func (l *Log) content(msg *message.Message) store.Content {
	c := store.Content{Headers: msg.Metadata}
	if l.config.Payload {
		c.Payload = mask(msg.Payload, l.config.Mask)
	}
	return c
}

// mask returns payload with the values at the pointers hidden, and each other
// byte as it was. What is not strictly JSON may have a value that a pointer
// does not find, a second member of the same name for one: nothing of it is
// returned.
func mask(payload []byte, pointers []string) []byte {
	if len(pointers) == 0 {
		return payload
	}
	if !jsontext.Value(payload).IsValid() {
		return nil
	}
	for _, p := range pointers {
		span, found, err := pointer.Find(payload, p)
		if err != nil {
			return nil
		}
		if found {
			payload = slices.Concat(payload[:span.Start], []byte(hidden), payload[span.End:])
		}
	}
	return payload
}
