package engine

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/sync/errgroup"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// How long giving leases back may take, and how many are made to last at once.
const (
	backTimeout = 2 * time.Second
	extendWidth = 16
)

// hand is the leases that an inlet has in hand.
type hand struct {
	inlet *inlet
	claim *broker.Claim

	mu     sync.Mutex
	last   int64
	leases map[int64]*leased // by position in the claim
	closed bool              // nothing may begin any more
}

// leased is a delayed message in hand.
type leased struct {
	store.Lease
	pos  int64
	hand *hand

	// Under the hand's mutex.
	until time.Time // by this process's clock
	begun bool
	lost  bool // somebody else has it
}

func newHand(i *inlet, claim *broker.Claim) *hand {
	return &hand{inlet: i, claim: claim, leases: make(map[int64]*leased)}
}

// take takes leases in hand, which end no sooner than at until, and returns
// them as deliveries.
func (h *hand) take(leases []store.Lease, until time.Time) []broker.Delivery {
	h.mu.Lock()
	defer h.mu.Unlock()
	deliveries := make([]broker.Delivery, len(leases))
	for i, lease := range leases {
		l := &leased{Lease: lease, pos: h.last, until: until, hand: h}
		h.leases[l.pos] = l
		h.last++
		deliveries[i] = h.inlet.delivery(l)
	}
	return deliveries
}

// keep makes leases last, and drops those that have ended, until ctx is done.
func (h *hand) keep(ctx context.Context) {
	tick := time.NewTicker(leaseExtend)
	defer tick.Stop()
	for {
		select {
		case <-h.claim.Changed():
			h.settle()
		case <-tick.C:
			h.extend(ctx)
		case <-ctx.Done():
			return
		}
	}
}

// settle drops what has ended. The next of its key may be due now.
func (h *hand) settle() {
	p := h.claim.Take(broker.Progress{})
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, pos := range append(p.Prefix, p.Above...) {
		delete(h.leases, pos)
	}
	h.inlet.wake()
}

// extend makes last what would end before the next two ticks. One that was
// lost is dropped: whoever has the message now sees to it. It does not begin
// here any more, and a run learns of it when its outcome is refused.
func (h *hand) extend(ctx context.Context) {
	var group errgroup.Group
	group.SetLimit(extendWidth)
	for _, l := range h.all() {
		if l.younger(leaseExtend) {
			continue
		}
		group.Go(func() error {
			one, cancel := context.WithTimeout(ctx, leaseExtend) // else one silent connection costs all their leases
			defer cancel()
			if err := l.extend(one); errors.Is(err, store.ErrStaleToken) {
				h.drop(l)
			}
			return nil // one that the store did not answer for is asked for again
		})
	}
	_ = group.Wait()
}

func (h *hand) drop(l *leased) {
	h.mu.Lock()
	defer h.mu.Unlock()
	l.lost = true
	delete(h.leases, l.pos)
}

// all lists what is in hand.
func (h *hand) all() []*leased {
	h.mu.Lock()
	defer h.mu.Unlock()
	all := make([]*leased, 0, len(h.leases))
	for _, l := range h.leases {
		all = append(all, l)
	}
	return all
}

// shut lets nothing more begin, and returns what has not, which is in hand no
// longer.
func (h *hand) shut() []*leased {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	var waiting []*leased
	for pos, l := range h.leases {
		if !l.begun {
			waiting = append(waiting, l)
			delete(h.leases, pos)
		}
	}
	return waiting
}

// giveBack ends leases, so that others can have the messages at once. They are
// as if they had not been leased. Where the store does not answer they end by
// themselves.
func (h *hand) giveBack(leases []*leased) {
	ctx, cancel := context.WithTimeout(context.Background(), backTimeout)
	defer cancel()
	var group errgroup.Group
	group.SetLimit(extendWidth)
	for _, l := range leases {
		group.Go(func() error { return h.inlet.store.Do(ctx, h.inlet.store.DelayAgain(l.Lease)) })
	}
	if err := group.Wait(); err != nil && !errors.Is(err, store.ErrStaleToken) {
		h.inlet.log.Warn("delayed messages are not given back, and come when their leases end: " + err.Error())
	}
}

// extend makes the lease last.
func (l *leased) extend(ctx context.Context) error {
	asked := time.Now()
	if err := l.hand.inlet.store.ExtendLease(ctx, l.Lease, leaseTTL); err != nil {
		return err
	}
	l.hand.mu.Lock()
	defer l.hand.mu.Unlock()
	l.until = asked.Add(leaseTTL)
	return nil
}

// younger reports whether the lease was given, or made to last, less than age
// ago.
func (l *leased) younger(age time.Duration) bool {
	l.hand.mu.Lock()
	defer l.hand.mu.Unlock()
	return time.Until(l.until) > leaseTTL-age
}

// begin returns "" if the message may run, else how it ends. Once the route
// stops it is given back; one that somebody else has is let go.
func (l *leased) begin() pipeline.Result {
	l.hand.mu.Lock()
	defer l.hand.mu.Unlock()
	switch {
	case l.lost:
		return pipeline.ResultVoid
	case l.hand.closed && !l.begun:
		return pipeline.ResultStopped
	}
	l.begun = true
	return ""
}

type leasedKey struct{}

// dress adds the lease to the context of its message.
func (l *leased) dress(ctx context.Context) context.Context {
	return context.WithValue(store.WithLease(ctx, &l.Lease), leasedKey{}, l)
}

func leasedOf(ctx context.Context) *leased {
	l, _ := ctx.Value(leasedKey{}).(*leased)
	return l
}

// newMessage returns m as its broker handed it out.
func newMessage(m store.DelayedMessage) *message.Message {
	return pipeline.NewMessage(m.Message, m.Payload, maps.Clone(m.Headers))
}
