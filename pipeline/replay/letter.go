package replay

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Caps of what a letter says, in bytes. Names are in indexes of the store, as
// ids are (store.MaxID).
const (
	maxName = 200
	maxText = 64 << 10
)

// Unrouted is the error type of a letter that says nothing of why it died.
const Unrouted = "UNROUTED"

// clerk reads what is on a dead-letter topic.
type clerk struct {
	pipeline pipeline.Pipeline
	handler  string // whose letters the topic is for, where they do not say
	parked   map[string]bool
	now      func() time.Time
}

func newClerk(p pipeline.Pipeline, topic string) clerk {
	c := clerk{pipeline: p, handler: topic, parked: make(map[string]bool), now: time.Now}
	for _, h := range slices.Backward(p.Handlers) {
		if h.MaxReplays > 0 {
			c.parked[h.Parking()] = true
		}
		if h.DeadLetter == topic || h.Parking() == topic {
			c.handler = h.Name // the first, of several that share the topic
		}
	}
	return c
}

// story is what a letter's headers say of its death. Zero values: they do not.
type story struct {
	handler, topic, group string
	place                 *place
	reason                pipeline.Reason
	err, errType, stack   string
	print                 string
	attempts, replays     int
	letter                int64 // whose replay it was; 0: of none
	first, last           time.Time
}

type place struct {
	partition int32
	offset    int64
}

// letter makes a dead letter of a message, whatever it is.
func (c clerk) letter(msg *message.Message) store.DeadLetter {
	read := origin(msg)
	content := store.Content{Headers: msg.Metadata, Payload: msg.Payload}
	s, ours := own(msg.Metadata)
	if ours {
		content.Headers = original(msg.Metadata)
	} else {
		s = foreign(msg.Metadata)
	}
	c.complete(&s)
	l := store.DeadLetter{
		ID: s.letter, Handler: clip(s.handler, maxName), Message: store.ShortID(msg.UUID), Topic: s.topic, Subscription: s.group, Offset: -1,
		Key: c.key(s.topic, msg), Correlation: conversation(msg),
		Reason: s.reason, Error: clip(s.err, maxText), ErrorType: s.errType, Stack: clip(s.stack, maxText), Fingerprint: s.print,
		Attempts: s.attempts, First: s.first, Last: s.last, Replays: s.replays, Parked: c.parked[read.Topic], Content: content,
	}
	if s.place != nil {
		l.Partition, l.Offset = s.place.partition, s.place.offset
	}
	if l.Copy = copyOf(msg, read); ours {
		l.Copy = Death(l)
	}
	if l.Message == "" {
		l.Message = store.ShortID(l.Copy)
	}
	return l
}

// complete fills in what the headers do not say.
func (c clerk) complete(s *story) {
	if s.handler == "" {
		s.handler = c.handler
	}
	if s.reason == "" || !slices.Contains(pipeline.Reasons(), s.reason) {
		s.reason = pipeline.ReasonInternal
	}
	if s.last.IsZero() {
		s.last = s.first
	}
	if s.last.IsZero() {
		s.last = c.now()
	}
	if s.first.IsZero() {
		s.first = s.last
	}
	if s.print == "" || len(s.print) > maxName {
		s.print = pipeline.Fingerprint(s.reason, s.errType, clip(s.err, maxText), frame(s.stack))
	}
}

// origin is where the archiver read the message.
func origin(msg *message.Message) pipeline.Origin {
	if o := pipeline.OriginOf(msg.Context()); o != nil {
		return *o
	}
	return pipeline.Origin{Offset: -1}
}

// key is what ordered the message on the topic where it died.
func (c clerk) key(topic string, msg *message.Message) string {
	return broker.Key(c.pipeline.Topics[topic], msg)
}

func conversation(msg *message.Message) string {
	if id := pipeline.CorrelationID(msg); id != "" {
		return id
	}
	return msg.UUID
}

// tale are the headers that a handler's settling adds to what died.
var tale = []string{
	pipeline.MetaDeadTopic, pipeline.MetaDeadPartition, pipeline.MetaDeadOffset, pipeline.MetaDeadGroup, pipeline.MetaDeadHandler,
	pipeline.MetaDeadReason, pipeline.MetaDeadError, pipeline.MetaDeadErrorType, pipeline.MetaDeadStack, pipeline.MetaDeadAttempts,
	pipeline.MetaDeadFirst, pipeline.MetaDeadLast, pipeline.MetaDeadPrint, pipeline.MetaDeadReplays, pipeline.MetaReplayID, pipeline.MetaReplayLetter,
	pipeline.MetaPoisonReason, pipeline.MetaPoisonTopic, pipeline.MetaPoisonHandler, pipeline.MetaPoisonSubscriber,
}

// own reads a letter of Waybill's.
func own(meta message.Metadata) (story, bool) {
	if meta[pipeline.MetaDeadHandler] == "" || meta[pipeline.MetaDeadLast] == "" {
		return story{}, false
	}
	return story{
		handler: meta[pipeline.MetaDeadHandler], topic: meta[pipeline.MetaDeadTopic], group: meta[pipeline.MetaDeadGroup],
		place:  placeOf(meta[pipeline.MetaDeadPartition], meta[pipeline.MetaDeadOffset]),
		reason: pipeline.Reason(meta[pipeline.MetaDeadReason]),
		err:    meta[pipeline.MetaDeadError], errType: meta[pipeline.MetaDeadErrorType], stack: meta[pipeline.MetaDeadStack],
		print:    meta[pipeline.MetaDeadPrint],
		attempts: number(meta[pipeline.MetaDeadAttempts]), replays: number(meta[pipeline.MetaDeadReplays]),
		letter: int64(number(meta[pipeline.MetaReplayLetter])),
		first:  timeOf(meta[pipeline.MetaDeadFirst]), last: timeOf(meta[pipeline.MetaDeadLast]),
	}, true
}

// original is the metadata of the message that died.
func original(meta message.Metadata) map[string]string {
	headers := maps.Clone(meta)
	for _, name := range tale {
		delete(headers, name)
	}
	return headers
}

// Death names the death that a letter tells of, for its Copy: no two of one
// message in one handler are at the same time and place.
func Death(l store.DeadLetter) string {
	return fmt.Sprintf("%d/%d/%d", l.Last.UnixMicro(), l.Partition, l.Offset)
}

// copyOf tells a foreign letter from others. Where its broker counts that is
// its place. On RabbitMQ it is all that is in it; but two messages whose id is
// a hash of their content are alike in that, too: there each delivery is a
// letter, as one that is there twice is better than one that is lost.
func copyOf(msg *message.Message, read pipeline.Origin) string {
	if read.Offset >= 0 {
		return fmt.Sprintf("%s/%d/%d", store.ShortID(read.Topic), read.Partition, read.Offset)
	}
	if !pipeline.Identified(msg) {
		return uuid.Must(uuid.NewV7()).String()
	}
	var b bytes.Buffer
	for _, name := range slices.Sorted(maps.Keys(msg.Metadata)) {
		fmt.Fprintf(&b, "%q=%q\n", name, msg.Metadata[name])
	}
	b.Write(msg.Payload)
	return hash(b.Bytes())
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

// clip cuts what should be text to at most n bytes.
func clip(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) > n {
		text = strings.ToValidUTF8(text[:n], "")
	}
	return text
}

// frame is the function at the top of a stack trace as Java and .NET print it.
func frame(stack string) string {
	for line := range strings.Lines(stack) {
		if at, ok := strings.CutPrefix(strings.TrimSpace(line), "at "); ok {
			name, _, _ := strings.Cut(at, "(")
			return name
		}
	}
	return ""
}

// placeOf is nil where there is no offset.
func placeOf(partition, offset string) *place {
	o, err := strconv.ParseInt(offset, 10, 64)
	if err != nil || o < 0 {
		return nil
	}
	p, err := strconv.ParseInt(partition, 10, 32)
	if err != nil {
		p = 0
	}
	return &place{int32(p), o}
}

// number is 0 where there is none.
func number(text string) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return 0
	}
	return n
}

// timeOf reads a time as the systems write it; zero: it is none.
func timeOf(text string) time.Time {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.000000 Z", "01/02/2006 15:04:05"} {
		if t, err := time.Parse(layout, text); err == nil && t.Year() > 1970 && t.Year() < 10_000 {
			return t.UTC()
		}
	}
	return time.Time{}
}
