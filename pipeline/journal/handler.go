package journal

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Handler is the part of the journal that one handler writes.
type Handler struct {
	journal *Journal
	name    string
	topic   string
	label   label
	alone   time.Duration // how long others wait for a run of it that is alone
}

// Handler returns the part of the handler of that name, which reads topic, and
// whose runs end by themselves after timeout; 0: they need not.
func (j *Journal) Handler(name, topic string, timeout time.Duration) *Handler {
	// The store is asked meanwhile, too.
	return &Handler{journal: j, name: name, topic: topic, label: newLabel(name, topic), alone: max(patience, timeout+askTimeout)}
}

// Suspect returns the message as a suspect, or nil if it is none. A suspect is
// to be told when it is Done.
func (h *Handler) Suspect(msg *message.Message) *Suspect {
	j := h.journal
	again := !j.sure && handedOut(msg)
	if !again && j.suspects.size.Load() == 0 {
		return nil
	}
	key := store.SuspectKey{Handler: h.name, Message: nameOf(msg)}
	if !again && !j.suspects.has(key) {
		return nil
	}
	j.suspects.add(key)
	j.inHand.Add(1)
	return &Suspect{journal: j, handler: h, key: key}
}

// Of returns the suspect that a message's context carries, see With, or nil.
func (h *Handler) Of(ctx context.Context) *Suspect {
	if h.journal.inHand.Load() == 0 {
		return nil
	}
	s, _ := ctx.Value(suspectKey{}).(*Suspect)
	return s
}

// handedOut reports whether the message was handed out before, by a process
// that may be gone.
func handedOut(msg *message.Message) bool {
	from := pipeline.OriginOf(msg.Context())
	return from != nil && from.Redelivered && !from.Returned
}

// Run runs the kind beside others, with a slot of its own. False: ctx ends, or
// its subscription drains, before it is its turn.
func (h *Handler) Run(ctx context.Context, msg *message.Message, run func()) bool {
	if !h.journal.gate.enter(ctx) {
		return false
	}
	defer h.journal.gate.leave()
	h.fill(msg, false, run)
	return true
}

// fill runs with a slot.
func (h *Handler) fill(msg *message.Message, alone bool, run func()) {
	slot := h.journal.slots.take(h.label, nameOf(msg), alone)
	if slot == noSlot {
		h.journal.lack()
	}
	defer h.journal.slots.leave(slot)
	run()
}

// nameOf is what the journal calls a message: its id, where that fits into a
// slot, else a hash. One without an id is named by its content; an id that
// equal messages share is a hash of that already.
func nameOf(msg *message.Message) string {
	switch {
	case msg.UUID == "":
		return hash(msg.Payload)
	case len(msg.UUID) > maxID:
		return hash([]byte(msg.UUID))
	}
	return msg.UUID
}

func hash(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}
