package replay

import (
	"context"
	"fmt"
	"slices"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Actions of a replay's entries in the audit log.
const (
	actionReplay = "replay"
	actionPause  = "replay_pause"
	actionResume = "replay_resume"
	actionCancel = "replay_cancel"
)

// itself is the actor of what a replay does of its own accord.
const itself = "waybill"

// Begin checks what r asks for, and makes a replay of it, which this or another
// instance carries out. Of r it reads Selection, Options, By and Why. It is
// entered in the audit log.
func (r *Runner) Begin(ctx context.Context, want store.Replay) (store.Replay, error) {
	if err := r.check(want.Options); err != nil {
		return store.Replay{}, err
	}
	sel, err := r.opts.Store.Selection(ctx, want.Selection)
	if err != nil {
		return store.Replay{}, err
	}
	run, err := r.opts.Store.StartReplay(ctx, want, func(run store.Replay) []pipeline.Write {
		e := store.AuditEntry{
			Actor: run.By, Action: actionReplay, Why: run.Why, On: sel.Named, Count: int(run.Count),
			Detail: fmt.Sprintf("replay %d of selection %d", run.ID, run.Selection),
		}
		if len(sel.Named) == 0 {
			e.Filter = &sel.Filter
		}
		return []pipeline.Write{r.opts.Store.Record(e)}
	})
	if err == nil {
		r.Wake()
	}
	return run, err
}

// check returns why the options make no sense.
func (r *Runner) check(o store.ReplayOptions) error {
	invalid := func(format string, args ...any) error {
		return fmt.Errorf("%w: %w", store.ErrInvalid, fmt.Errorf(format, args...))
	}
	switch {
	case o.Rate < 0:
		return invalid("rate %v: letters a second, or 0 for as fast as it goes", o.Rate)
	case o.StopAfter < 0:
		return invalid("stop_after_failures %d: a number of letters, or 0 for never", o.StopAfter)
	case slices.ContainsFunc(o.Ramp, func(n int) bool { return n < 1 }):
		return invalid("ramp %v: sizes of batches, each at least 1", o.Ramp)
	}
	if _, ok := r.opts.Topic(o.Redirect); o.Redirect != "" && !ok {
		return invalid("topic %q is not in the config: `waybill echo` lists the topics", o.Redirect)
	}
	if o.Transform == "" {
		return nil
	}
	if _, err := r.compile(o.Transform); err != nil {
		return invalid("transform: %w", err)
	}
	return nil
}

func (r *Runner) compile(source string) (Edit, error) {
	if r.opts.Transform == nil {
		return nil, fmt.Errorf("%w: this Waybill knows no transforms", store.ErrInvalid)
	}
	return r.opts.Transform(source)
}

// Pause stops a replay from sending more. What was sent goes on.
func (r *Runner) Pause(ctx context.Context, id int64, by, why string) (store.Replay, error) {
	return r.move(ctx, store.ReplayMove{ID: id, To: store.ReplayPaused}, actionPause, by, why)
}

// Resume lets a paused replay go on. Letters that died again until now count no
// more for its bound of failures.
func (r *Runner) Resume(ctx context.Context, id int64, by, why string) (store.Replay, error) {
	return r.move(ctx, store.ReplayMove{ID: id, To: store.ReplayRunning}, actionResume, by, why)
}

// Cancel ends a replay for good. What was sent goes on; the others stay dead.
func (r *Runner) Cancel(ctx context.Context, id int64, by, why string) (store.Replay, error) {
	return r.move(ctx, store.ReplayMove{ID: id, To: store.ReplayCancelled}, actionCancel, by, why)
}

func (r *Runner) move(ctx context.Context, m store.ReplayMove, action, by, why string) (store.Replay, error) {
	run, err := r.opts.Store.MoveReplay(ctx, m, r.entry(m.ID, action, by, why))
	if err == nil {
		r.Wake()
	}
	return run, err
}

func (r *Runner) entry(id int64, action, by, why string) pipeline.Write {
	return r.opts.Store.Record(store.AuditEntry{Actor: by, Action: action, Why: why, Detail: fmt.Sprintf("replay %d", id)})
}
