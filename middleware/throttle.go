package middleware

import (
	"github.com/ThreeDotsLabs/watermill/message"
	"golang.org/x/time/rate"
)

// Throttle bounds how many runs a second the kind gets. A message that waits
// for its turn burns no attempt.
type Throttle struct {
	PerSecond float64 // 0: no bound
	Burst     int     // how many may run at once after a pause; at least 1
}

// Middleware wraps h. All messages of the returned function share the bound.
func (t Throttle) Middleware(h message.HandlerFunc) message.HandlerFunc {
	if t.PerSecond <= 0 {
		return h
	}
	limit := rate.NewLimiter(rate.Limit(t.PerSecond), max(t.Burst, 1))
	return func(msg *message.Message) ([]*message.Message, error) {
		turn := limit.Reserve()
		if err := wait(msg, turn.Delay()); err != nil {
			turn.Cancel()
			return nil, err
		}
		return h(msg)
	}
}
