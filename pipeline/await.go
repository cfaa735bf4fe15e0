package pipeline

import (
	"context"
	"sync"
	"time"
)

// awaitLook is how often Await looks whether its context has ended.
const awaitLook = 50 * time.Millisecond

var awaitTimers = sync.Pool{New: func() any { return time.NewTimer(time.Hour) }}

// Await receives a value from a channel, or returns the cause once ctx has
// ended, which it notices up to 50 ms late. In return nobody asks ctx for Done:
// with a Scope that has a deadline that would be a timer and three objects for
// each message that waits for its confirm.
//
// Its timers are kept and used again, so it is not for a bubble of
// testing/synctest.
func Await[T any](ctx context.Context, from <-chan T) (value T, err error) {
	select {
	case value = <-from:
		return value, nil
	default:
	}
	timer, _ := awaitTimers.Get().(*time.Timer)
	defer awaitTimers.Put(timer)
	defer timer.Stop()
	for {
		if ctx.Err() != nil {
			select {
			case value = <-from: // at the last moment
				return value, nil
			default:
				return value, context.Cause(ctx)
			}
		}
		timer.Reset(awaitLook)
		select {
		case value = <-from:
			return value, nil
		case <-timer.C:
		}
	}
}
