package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"time"

	"golang.org/x/time/rate"

	"github.com/waybill-dev/waybill/pipeline/store"
)

const (
	// window is how many letters may be under way.
	window = 4096
	// batch is how many go in one transaction.
	batch = 500
	// How long a replay that has nothing to send waits before it looks at the
	// outcomes again: longer and longer while none comes, and well within the
	// lease.
	followSoon = 100 * time.Millisecond
	followLate = 2 * time.Second
	// shortTurn is the shortest wait for the rate: a look at the store costs more
	// than sending a little late.
	shortTurn = followSoon / 10
)

// run carries out one replay, for one goroutine.
type run struct {
	*Runner
	lease store.ReplayLease
	log   *slog.Logger
	named bool // its letters were asked for by id
	edit  Edit // nil: as they are
	limit *rate.Limiter
}

// loop returns when there is nothing left to do.
func (r *run) loop(ctx context.Context) error {
	if err := r.prepare(ctx); err != nil {
		return err
	}
	wait := followSoon
	for {
		before := r.lease.Replay
		now, err := r.opts.Store.FollowReplay(ctx, r.lease, leaseTime)
		if err != nil {
			return err
		}
		r.lease.Replay = now
		if now.State != store.ReplayRunning && now.Sent == 0 {
			r.log.Info("replay is "+string(now.State), "completed", now.Completed, "dead", now.Dead, "skipped", now.Skipped)
			return nil
		}
		sent, err := r.step(ctx)
		if err != nil {
			return err
		}
		if sent > 0 || now.Sent != before.Sent {
			wait = followSoon
		}
		if sent > 0 && r.room() > 0 && r.limit.Limit() == rate.Inf {
			continue
		}
		if err := pause(ctx, min(wait, r.turn())); err != nil {
			return nil //nolint:nilerr // this instance stops
		}
		wait = min(2*wait, followLate)
	}
}

// prepare reads what the replay's letters and options say.
func (r *run) prepare(ctx context.Context) error {
	sel, err := r.opts.Store.Selection(ctx, r.lease.Selection)
	if err != nil {
		return err
	}
	r.named = len(sel.Named) > 0
	r.limit = rate.NewLimiter(rate.Inf, 0)
	if perSecond := r.lease.Options.Rate; perSecond > 0 {
		// Twice what comes together in a turn, so that a late turn catches up.
		r.limit = rate.NewLimiter(rate.Limit(perSecond), max(1, int(math.Ceil(2*perSecond*followSoon.Seconds()))))
		if r.lease.Pending < r.lease.Count { // what was sent before the lease has used the rate up
			r.limit.AllowN(time.Now(), r.limit.Burst())
		}
	}
	return nil
}

// step sends what may be sent now, and returns how many that were.
func (r *run) step(ctx context.Context) (int, error) {
	o := r.lease.Options
	if r.lease.State != store.ReplayRunning {
		return 0, nil
	}
	if died := r.lease.Dead - r.lease.Forgiven; o.StopAfter > 0 && died >= int64(o.StopAfter) {
		return 0, r.giveUp(ctx, fmt.Sprintf("%d letters died again: look at them, then resume or cancel", died))
	}
	if o.Transform != "" && r.edit == nil {
		edit, err := r.compile(o.Transform)
		if err != nil { // another version of Waybill took it
			return 0, r.giveUp(ctx, "transform: "+err.Error())
		}
		r.edit = edit
	}
	n, now := r.room(), time.Now()
	if o.Rate > 0 {
		n = min(n, int(r.limit.TokensAt(now)))
	}
	if n == 0 {
		return 0, nil
	}
	sent, err := r.send(ctx, n)
	r.limit.AllowN(now, sent) // what was not sent, as a pause came in between, uses nothing up
	return sent, err
}

// room is how many letters may be sent besides those under way.
func (r *run) room() int {
	now := r.lease.Replay
	n := min(int64(batch), window-now.Sent, now.Pending)
	reached, end := now.Count-now.Pending, int64(0)
	for _, size := range now.Options.Ramp {
		if end += int64(size); reached > end {
			continue
		}
		if reached == end { // the outcomes of this batch are known before the next
			if now.Sent > 0 {
				return 0
			}
			continue
		}
		n = min(n, end-reached)
		break
	}
	return int(max(n, 0))
}

// turn is how long it takes until the rate lets the next letters go: as many
// as come together in followSoon.
func (r *run) turn() time.Duration {
	if r.lease.State != store.ReplayRunning || r.limit.Limit() == rate.Inf || r.room() == 0 {
		return followLate
	}
	missing := max(1, float64(r.limit.Burst())/2) - r.limit.Tokens()
	return max(shortTurn, time.Duration(missing/float64(r.limit.Limit())*float64(time.Second)))
}

// giveUp pauses the replay for a reason of its own.
func (r *run) giveUp(ctx context.Context, problem string) error {
	r.log.Warn("replay pauses: " + problem)
	_, err := r.opts.Store.MoveReplay(ctx, store.ReplayMove{ID: r.lease.ID, To: store.ReplayPaused, Problem: problem}, r.entry(r.lease.ID, actionPause, itself, problem))
	if errors.Is(err, store.ErrConflict) { // somebody has paused or cancelled it
		return nil
	}
	return err
}

// pause returns an error if ctx ends first.
func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
