package engine

import (
	"context"
	"maps"
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
// whomever, the next answer is no, and the key is forgotten. Those that do not
// come again are once there are many: the keys are then loaded anew.
type order struct {
	handler string
	store   store.Store
	holder  middleware.Holder

	loading sync.Mutex // one load is enough for all who want one

	mu     sync.RWMutex
	loaded time.Time         // when the latest load began
	keys   map[string]uint64 // that may be held, each with the number of who said so last
	said   uint64            // the latest number
	room   int               // for that many keys; more are loaded anew
}

// keysKept is how many keys are remembered at least: some that nothing holds any
// more, which cost memory, and a question each when they come again.
const keysKept = 10_000

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
	return &order{handler: r.handler.Name, store: e.opts.Store, holder: holder, keys: make(map[string]uint64), room: keysKept}
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

// known reports whether keys were loaded since the claim began and need not be
// anew, and who said last that the lane may be held; 0: nobody.
func (o *order) known(begun time.Time, lane string) (known bool, said uint64) {
	o.mu.RLock()
	defer o.mu.RUnlock()
	return begun.Before(o.loaded) && len(o.keys) <= o.room, o.keys[lane]
}

// load makes the keys those that are held now, unless somebody did since begun.
// What is added meanwhile stays.
func (o *order) load(ctx context.Context, begun time.Time) error {
	o.loading.Lock()
	defer o.loading.Unlock()
	if known, _ := o.known(begun, ""); known {
		return nil
	}
	o.mu.RLock()
	began, before := time.Now(), o.said
	o.mu.RUnlock()
	keys, err := o.store.HeldKeys(ctx, o.handler)
	if err != nil {
		return err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	maps.DeleteFunc(o.keys, func(_ string, said uint64) bool { return said <= before })
	for _, key := range keys {
		o.say(key)
	}
	o.loaded, o.room = began, max(keysKept, 2*len(o.keys))
	return nil
}

// add notes that the lane is held, as the store says from now on: a load that
// began before that may not know.
func (o *order) add(lane string) {
	if o == nil || lane == "" {
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.say(lane)
}

func (o *order) say(lane string) {
	o.said++
	o.keys[lane] = o.said
}

// forget drops a lane that the store was asked about when that one had said
// last that it may be held. What a replay has added meanwhile stays.
func (o *order) forget(lane string, said uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.keys[lane] == said {
		delete(o.keys, lane)
	}
}
