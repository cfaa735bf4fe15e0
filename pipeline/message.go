package pipeline

import (
	"context"
	"crypto/sha1" //nolint:gosec // UUIDv5 is made of it
	"maps"
	"strconv"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
)

// Metadata keys that travel with a message on every broker. Values are text.
const (
	MetaCorrelationID = "correlationid" // one conversation; an order's whole way through
	MetaCausationID   = "causationid"   // the id of the message that this one came from
	MetaPartitionKey  = "partitionkey"  // messages with the same key keep their order
	MetaTraceParent   = "traceparent"   // W3C trace context
	MetaTraceState    = "tracestate"
	MetaContentType   = "content-type"
	MetaEvent         = "event"         // the effect that an output asks for, see kind process_order
	MetaConfigVersion = "configversion" // hash of the handler's config that made this message (0-D26)

	// MetaIDSource is set when a message came without an id of its own:
	// IDSourcePosition or IDSourceContent.
	MetaIDSource = "idsource"

	// MetaEditOf is set on a message that somebody edited, and names the one
	// that it was made of. Its content may be another under the same id.
	MetaEditOf = "editof"

	// metaCorrelationAlias is Watermill's own name for MetaCorrelationID.
	metaCorrelationAlias = "correlation_id"
)

// Values of MetaIDSource.
const (
	// IDSourcePosition: the id names topic, partition and offset, so it is
	// unique but changes when the producer sends again.
	IDSourcePosition = "position"
	// IDSourceContent: the id is a hash of exchange, key and body. Equal
	// messages share it, so nothing may be dropped or merged by it.
	IDSourceContent = "content"
)

// NewMessage returns a message that nobody acks or nacks: one that is published,
// or settled by other means (broker.Settle). It has none of the two channels that
// Watermill's has for that, which cost more than all else that a message is made
// of. Metadata may be nil: it begins empty.
func NewMessage(id string, payload []byte, metadata message.Metadata) *message.Message {
	if metadata == nil {
		metadata = make(message.Metadata)
	}
	return &message.Message{UUID: id, Payload: payload, Metadata: metadata}
}

// CopyMessage returns a copy of a message for one run, in the same context, with
// metadata of its own. Nobody acks or nacks it; see NewMessage.
func CopyMessage(msg *message.Message) *message.Message {
	twin := NewMessage(msg.UUID, msg.Payload, maps.Clone(msg.Metadata))
	twin.SetContext(msg.Context())
	return twin
}

// Identified reports whether the message's id tells it from every other
// message. False: the id is a hash of the content, which two orders may share,
// so an effect must not use it as the key by which the other side drops
// repeats (design §4, ids).
func Identified(msg *message.Message) bool {
	return msg.Metadata.Get(MetaIDSource) != IDSourceContent
}

// Metadata keys of a dead letter: ours, and the four that Watermill's poison
// queue writes, so that its tools can read our dead letters.
const (
	MetaDeadTopic     = "dltopic"     // where the message came from
	MetaDeadPartition = "dlpartition" // and its place there, as the broker counts
	MetaDeadOffset    = "dloffset"
	MetaDeadGroup     = "dlgroup"     // the subscription
	MetaDeadHandler   = "dlhandler"   // the handler that failed
	MetaDeadReason    = "dlreason"    // a Reason
	MetaDeadError     = "dlerror"     // the error's text, capped
	MetaDeadErrorType = "dlerrortype" // the innermost error's Go type
	MetaDeadStack     = "dlstack"     // a panic's stack, capped
	MetaDeadAttempts  = "dlattempts"  // how often the handler ran
	MetaDeadFirst     = "dlfirsttime" // RFC 3339, the first and the last failure
	MetaDeadLast      = "dllasttime"
	MetaDeadPrint     = "dlfingerprint" // groups dead letters of the same cause
	MetaDeadReplays   = "dlreplays"     // how often it was replayed

	MetaPoisonReason     = "reason_poisoned"
	MetaPoisonTopic      = "topic_poisoned"
	MetaPoisonHandler    = "handler_poisoned"
	MetaPoisonSubscriber = "subscriber_poisoned"

	// MetaReplayID is set on a dead letter's message that was sent back, and
	// names the replay.
	MetaReplayID = "replayid"
	// MetaReplayLetter is set on it, too, and names the dead letter in the store.
	MetaReplayLetter = "replayletter"
)

// CorrelationID returns the message's correlation id, also where it came
// under Watermill's name for it, or "".
func CorrelationID(msg *message.Message) string {
	if id := msg.Metadata.Get(MetaCorrelationID); id != "" {
		return id
	}
	return msg.Metadata.Get(metaCorrelationAlias)
}

// outputSpace is the UUID namespace of output ids. It must never change:
// downstream systems recognise repeats by these ids.
var outputSpace = uuid.MustParse("6f6a1f4e-6b0c-5b8e-9d55-3a1c2f0b7d10")

// OutputID is the id of the index-th message that handler makes of the input
// with this id: a UUIDv5 of the three, so that handling an input again gives
// outputs with the same ids.
func OutputID(inputID, handler string, index int) string {
	name := make([]byte, 0, 128) // on the stack, as a rule
	name = append(append(append(name, outputSpace[:]...), inputID...), 0)
	name = strconv.AppendInt(append(append(name, handler...), 0), int64(index), 10)
	sum := sha1.Sum(name) //nolint:gosec // as RFC 9562 has it; nothing is kept secret by it
	id := uuid.UUID(sum[:16])
	id[6], id[8] = id[6]&0x0f|0x50, id[8]&0x3f|0x80
	return id.String()
}

type contextKey int

const (
	outputKey contextKey = iota
	originKey
	outcomeKey
	identityKey
	roomKey // of the room that NewOutcome made
	drainingKey
)

// SetOutput names the output of its handler that a produced message goes to.
// A message without one goes to the output "" (`to:` given as a plain topic).
func SetOutput(msg *message.Message, name string) {
	msg.SetContext(context.WithValue(msg.Context(), outputKey, name))
}

// OutputOf returns the name set with SetOutput, or "".
func OutputOf(msg *message.Message) string {
	name, _ := msg.Context().Value(outputKey).(string)
	return name
}

// Origin is where a message was read.
type Origin struct {
	Topic       string // Waybill's name of the topic
	Group       string // the subscription
	Partition   int32  // 0 where the broker has none
	Offset      int64  // the place in the partition; -1 where the broker has none
	Redelivered bool   // the broker says, or cannot rule out, that it was handed out before
	Returned    bool   // it was: to this process, which lost its connection and lives
}

// WithOrigin returns ctx carrying o.
func WithOrigin(ctx context.Context, o *Origin) context.Context {
	return context.WithValue(ctx, originKey, o)
}

// OriginOf returns where msg was read, or nil for a message of our own making.
func OriginOf(ctx context.Context) *Origin {
	o, _ := ctx.Value(originKey).(*Origin)
	return o
}

// WithDraining returns ctx carrying a channel that is closed when its
// subscription takes no more messages.
func WithDraining(ctx context.Context, draining <-chan struct{}) context.Context {
	return context.WithValue(ctx, drainingKey, draining)
}

// Draining is closed when the subscription of the message with this context
// takes no more messages: who runs goes on, who only waits for its turn gives
// the message back. Nil, which never fires, for a message of our own making.
func Draining(ctx context.Context) <-chan struct{} {
	ch, _ := ctx.Value(drainingKey).(<-chan struct{})
	return ch
}
