package middleware

import (
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// InHand knows the effects that this process is at, with one message for each:
// a second one waits here until the first is settled, and then sees its
// receipt. The zero value is ready.
type InHand struct {
	mu   sync.Mutex
	held map[store.ReceiptKey]hand
}

type hand struct {
	since time.Time
	over  chan struct{} // closed when it is let go
}

// take waits until nobody here has key, and takes it until letGo is called.
func (h *InHand) take(msg *message.Message, key store.ReceiptKey) (letGo func(), err error) {
	for {
		theirs := h.try(key)
		if theirs == nil {
			return func() { h.letGo(key) }, nil
		}
		select {
		case <-theirs:
		case <-pipeline.Draining(msg.Context()):
			return nil, stopping(msg)
		case <-msg.Context().Done():
			return nil, stopping(msg)
		}
	}
}

// try takes key and returns nil, or what is closed when its holder lets it go.
func (h *InHand) try(key store.ReceiptKey) (theirs <-chan struct{}) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if there, taken := h.held[key]; taken {
		return there.over
	}
	if h.held == nil {
		h.held = make(map[store.ReceiptKey]hand)
	}
	h.held[key] = hand{since: time.Now(), over: make(chan struct{})}
	return nil
}

func (h *InHand) letGo(key store.ReceiptKey) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.held[key].over)
	delete(h.held, key)
}

// Longer lists what has been in hand for longer than d.
func (h *InHand) Longer(d time.Duration) []store.ReceiptKey {
	h.mu.Lock()
	defer h.mu.Unlock()
	var keys []store.ReceiptKey
	for key, there := range h.held {
		if time.Since(there.since) > d {
			keys = append(keys, key)
		}
	}
	return keys
}
