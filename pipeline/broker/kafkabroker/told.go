package kafkabroker

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// tellAgain is after how long a trouble that lasts is told once more.
const tellAgain = time.Minute

// told keeps a trouble that lasts, such as a broker that is away, from
// filling the log: the same words are a warning once in a while, and
// otherwise for debugging only.
type told struct {
	mu   sync.Mutex
	last map[string]time.Time
}

func (t *told) warn(log *slog.Logger, what string, err error) {
	level := slog.LevelDebug
	if t.news(what) {
		level = slog.LevelWarn
	}
	log.Log(context.Background(), level, what, "error", err)
}

func (t *told) news(what string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.last == nil {
		t.last = make(map[string]time.Time)
	}
	if now := time.Now(); now.Sub(t.last[what]) > tellAgain {
		t.last[what] = now
		return true
	}
	return false
}
