package engine

import (
	"context"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/middleware"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// order keeps the order of a key while one of its messages waits in the store:
// what comes after that one goes behind it, into the store, too.
//
// It asks the store only of keys that may be held. That is enough, since a key
// has one owner, the instance whose broker hands out its messages: what it
// delays itself it knows, and what others have delayed before it took over it
// loads with the first message of a claim. Others may retry a message of the
// key meanwhile, but only a replay adds one, and says so (Requeued). And the
// owner handles one message of the key at a time, in its lane, so between
// asking and running or delaying nobody of the same key gets in. When the last one in the store has ended, by
// whomever, the next answer is no, and the key is forgotten.
type order struct {
	handler string
	store   store.Store
	holder  middleware.Holder

	loading sync.Mutex // one load is enough for all who want one

	mu     sync.RWMutex
	loaded time.Time      // when the latest load began
	keys   map[string]int // that may be held, and how often somebody said so
}

// ordered reports whether a message of h in the store may hold up others.
func ordered(h pipeline.Handler) bool {
	return h.Ordering != pipeline.OrderingNone && !h.Overtake
}

// newOrder returns nil for a route whose messages never wait for others in the
// store.
func (e *Engine) newOrder(r *route, holder middleware.Holder) *order {
	if h := r.handler; e.opts.Store == nil || !ordered(h) {
		return nil
	}
	return &order{handler: r.handler.Name, store: e.opts.Store, holder: holder, keys: make(map[string]int)}
}

// Middleware wraps h.
func (o *order) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if o == nil {
		return h
	}
	return func(msg *message.Message) ([]*message.Message, error) {
		claim, _ := broker.ClaimOf(msg)
		if claim == nil { // it comes from the store, where it was the first of its key
			return h(msg)
		}
		held, err := o.holds(msg, claim.Begun(), broker.LaneOf(msg))
		switch {
		case err != nil:
			return nil, err
		case held:
			return nil, middleware.ErrBehind
		}
		return h(msg)
	}
}

// holds reports whether the lane of msg, of a claim that began at that time, is
// held in the store.
func (o *order) holds(msg *message.Message, begun time.Time, lane string) (held bool, err error) {
	if lane == "" {
		return false, nil
	}
	known, said := o.known(begun, lane)
	if !known {
		if err := o.holder.Until(msg, "ask the store which keys are held", func(ctx context.Context) error {
			return o.load(ctx, begun)
		}); err != nil {
			return false, err
		}
		_, said = o.known(begun, lane)
	}
	if said == 0 {
		return false, nil
	}
	err = o.holder.Until(msg, "ask the store whether the key is held", func(ctx context.Context) (err error) {
		held, err = o.store.Holds(ctx, o.handler, lane)
		return err
	})
	if err == nil && !held {
		o.forget(lane, said)
	}
	return held, err
}

// known reports whether keys were loaded since the claim began, and how often
// somebody said that the lane may be held.
func (o *order) known(begun time.Time, lane string) (known bool, said int) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return begun.Before(o.loaded), o.keys[lane]
}

// load adds the keys that are held now, unless somebody did since begun.
func (o *order) load(ctx context.Context, begun time.Time) error {
	o.loading.Lock()
	defer o.loading.Unlock()
	if known, _ := o.known(begun, ""); known {
		return nil
	}
	began := time.Now()
	keys, err := o.store.HeldKeys(ctx, o.handler)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, key := range keys {
		o.keys[key]++
	}
	o.loaded = began
	return nil
}

// add notes that the lane is held from now on.
func (o *order) add(lane string) {
	if o == nil || lane == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.keys[lane]++
}

// forget drops a lane that the store was asked about when it had been said to
// be held so often. What a replay has added meanwhile stays.
func (o *order) forget(lane string, said int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys[lane] == said {
		delete(o.keys, lane)
	}
}
