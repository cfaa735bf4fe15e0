package replay

import (
	"context"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// Change is what a transform makes of one letter.
type Change struct {
	Letter int64
	Before store.Content
	After  store.Content
	Err    error // the letter would be skipped
}

// Preview shows what a transform makes of the first letters of a selection, up
// to n. Nothing is changed.
func (r *Runner) Preview(ctx context.Context, selection int64, transform string, n int) ([]Change, error) {
	if err := r.check(store.ReplayOptions{Transform: transform}); err != nil {
		return nil, err
	}
	edit, err := r.compile(transform)
	if err != nil {
		return nil, err
	}
	if _, err := r.opts.Store.Selection(ctx, selection); err != nil {
		return nil, err
	}
	letters, err := r.opts.Store.SelectedLetters(ctx, selection, n)
	if err != nil {
		return nil, err
	}
	changes := make([]Change, len(letters))
	for i, l := range letters {
		changes[i] = Change{Letter: l.ID, Before: l.Content}
		changes[i].After, changes[i].Err = edit(l.Content)
	}
	return changes, nil
}
