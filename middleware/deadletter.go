package middleware

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Caps of what a dead letter says of its cause, in bytes: metadata travels as
// headers, and RabbitMQ's must fit a frame of 128 KiB with the original's.
const (
	maxErrorText = 4 << 10
	maxStack     = 8 << 10
	maxBareError = 256
)

func now() time.Time { return time.Now().UTC() }

// letter returns the dead letter of msg: the same id, bytes and metadata, and
// what happened (design §4, Dead; survey §4.3). Earlier dead-letter metadata,
// of a message that was replayed, is replaced.
func (s Settle) letter(msg *message.Message, o *pipeline.Outcome) *message.Message {
	letter := msg.Copy()
	set := letter.Metadata.Set
	origin := originOf(msg)
	set(pipeline.MetaDeadTopic, origin.Topic)
	set(pipeline.MetaDeadGroup, s.Group)
	set(pipeline.MetaDeadHandler, s.Handler)
	if origin.Offset >= 0 {
		set(pipeline.MetaDeadPartition, strconv.FormatInt(int64(origin.Partition), 10))
		set(pipeline.MetaDeadOffset, strconv.FormatInt(origin.Offset, 10))
	}
	text := clip(o.Err.Error(), maxErrorText)
	set(pipeline.MetaDeadReason, string(o.Reason))
	set(pipeline.MetaDeadError, text)
	set(pipeline.MetaDeadErrorType, errorType(o.Err))
	set(pipeline.MetaDeadAttempts, strconv.Itoa(o.Attempts))
	set(pipeline.MetaDeadFirst, o.First.UTC().Format(time.RFC3339Nano))
	set(pipeline.MetaDeadLast, o.Last.UTC().Format(time.RFC3339Nano))
	stack := stackOf(o.Err)
	if stack != "" {
		set(pipeline.MetaDeadStack, clip(stack, maxStack))
	} else {
		delete(letter.Metadata, pipeline.MetaDeadStack)
	}
	if n := replays(msg); n > 0 {
		set(pipeline.MetaDeadReplays, strconv.Itoa(n))
	}
	set(pipeline.MetaDeadPrint, fingerprint(o, stack))
	set(pipeline.MetaPoisonReason, text)
	set(pipeline.MetaPoisonTopic, origin.Topic)
	set(pipeline.MetaPoisonHandler, s.Handler)
	set(pipeline.MetaPoisonSubscriber, s.Group)
	return letter
}

// replays is how often msg was replayed.
func replays(msg *message.Message) int {
	n, _ := strconv.Atoi(msg.Metadata.Get(pipeline.MetaDeadReplays)) // somebody else's text counts for nothing
	if l := store.LeaseOf(msg.Context()); l != nil {
		n = max(n, l.Replays)
	}
	return n
}

// bare leaves of a dead letter's story what takes little room.
func bare(letter *message.Message) {
	for _, key := range []string{
		pipeline.MetaDeadStack, pipeline.MetaPoisonReason, pipeline.MetaPoisonTopic,
		pipeline.MetaPoisonHandler, pipeline.MetaPoisonSubscriber,
	} {
		delete(letter.Metadata, key)
	}
	letter.Metadata.Set(pipeline.MetaDeadError, clip(letter.Metadata.Get(pipeline.MetaDeadError), maxBareError))
}

// clip cuts text to at most n bytes, between characters, and says that it did.
func clip(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	const mark = " …"
	n -= len(mark)
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n] + mark
}

// errorType names the type of the innermost error.
func errorType(err error) string {
	for {
		next := errors.Unwrap(err)
		if next == nil {
			return fmt.Sprintf("%T", err)
		}
		err = next
	}
}

func stackOf(err error) string {
	var traced interface{ StackTrace() string }
	if errors.As(err, &traced) {
		return traced.StackTrace()
	}
	return ""
}

// fingerprint groups dead letters of one cause; of a panic with its first
// frame in the program.
func fingerprint(o *pipeline.Outcome, stack string) string {
	return pipeline.Fingerprint(o.Reason, errorType(o.Err), clip(o.Err.Error(), maxErrorText), firstFrame(stack))
}

// firstFrame returns the function that panicked, from a stack as
// debug.Stack prints it: the one after the last call of panic.
func firstFrame(stack string) string {
	_, after, ok := strings.Cut(stack, "\npanic(")
	if !ok {
		return ""
	}
	lines := strings.SplitN(after, "\n", 4)
	if len(lines) < 3 {
		return ""
	}
	name, _, _ := strings.Cut(lines[2], "(")
	return name
}
