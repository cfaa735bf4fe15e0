// Package once says what an effect is done once for: the order, however many
// messages it comes in, or the message.
//
// A kind with an effect has `once:` in its config, gives Subject to the engine
// through pipeline.Kind.Once, and makes the key that the other side sees of
// the same subject, so that both recognise a repeat by the same thing.
package once

import (
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// Subject returns what the effect for msg is done once for: the first of the
// JSON Pointers that finds a text or a number in the payload, as a rule the
// order's id, else the message's id. "": its id is a hash of the content,
// which two orders may share.
func Subject(msg *message.Message, pointers []string) string {
	if text, ok := pointer.First(msg.Payload, pointers); ok && text != "" {
		return text
	}
	if !pipeline.Identified(msg) {
		return ""
	}
	return msg.UUID
}

// Check returns what is wrong with the pointers under `once:`.
func Check(pointers []string) (faults []error) {
	for i, path := range pointers {
		if err := pointer.Check(path); err != nil {
			faults = append(faults, &pipeline.FieldError{Pointer: fmt.Sprintf("/once/%d", i), Err: err})
		}
	}
	return faults
}
