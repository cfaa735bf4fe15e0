package broker

import (
	"slices"
	"sync"
)

// recent remembers the ids of the last messages that a window was given, so
// that one that comes again because a connection was lost can be told from
// one that another process had.
type recent struct {
	mu   sync.Mutex
	ids  []string
	next int
}

func newRecent(n int) recent { return recent{ids: make([]string, n)} }

// note remembers id. With look it reports whether id was there already.
func (r *recent) note(id string, look bool) (known bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	known = look && id != "" && slices.Contains(r.ids, id)
	r.ids[r.next] = id
	r.next = (r.next + 1) % len(r.ids)
	return known
}
