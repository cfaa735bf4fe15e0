package broker

import (
	"log/slog"

	"github.com/waybill-dev/waybill/pipeline"
)

// Options are what every driver's Open takes beside the broker's own config.
type Options struct {
	// Instance names this process among those that share subscriptions; it
	// stays the same over restarts.
	Instance string
	// Topic returns what the config says of a topic. Publishing to, or
	// subscribing to, a topic that it does not know is an error
	// (pipeline.ReasonUnroutable, permanent). It may be called at any time.
	Topic func(name string) (pipeline.Topic, bool)
	// Log receives what the driver has to say; never nil.
	Log *slog.Logger
}

// MetaWire is the metadata key under which a driver keeps what metadata's
// plain text cannot hold of a foreign message's headers (types, repeats,
// order), so that publishing the message again restores them. Its value is
// JSON; a driver passes on the entries of others untouched.
const MetaWire = "_waybill_wire"
