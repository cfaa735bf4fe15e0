// Package output makes the messages that a kind returns.
//
// An output has no id of its own: the engine gives it one that is derived
// from the input's (pipeline.OutputID), so that a repeat is recognisable. It
// carries the metadata of its input, so that correlation, trace, key and
// content type travel on; but not how often its input was replayed,
// nor of which dead letter it is.
package output

import (
	"maps"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// New returns a message for the named output ("" is a plain `to:`) with this
// payload and a copy of the input's metadata. The payload may be the input's
// own: nobody changes the bytes of a payload.
func New(in *message.Message, name string, payload []byte) *message.Message {
	out := pipeline.NewMessage("", payload, nil)
	maps.Copy(out.Metadata, in.Metadata)
	delete(out.Metadata, pipeline.MetaDeadReplays)
	delete(out.Metadata, pipeline.MetaReplayLetter)
	pipeline.SetOutput(out, name)
	return out
}

// Each returns one message for each of the named outputs, as New does.
func Each(in *message.Message, names []string, payload []byte) []*message.Message {
	outs := make([]*message.Message, len(names))
	for i, name := range names {
		outs[i] = New(in, name, payload)
	}
	return outs
}
