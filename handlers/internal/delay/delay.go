// Package delay waits without holding up a stop.
package delay

import (
	"context"
	"time"
)

// Wait returns after d, or as soon as ctx ends, then with the cause of that:
// pipeline.ErrStopping at a shutdown, context.DeadlineExceeded at a timeout.
// It does not wait at all if d is zero or less.
func Wait(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
