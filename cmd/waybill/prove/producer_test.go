package prove

import (
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
)

// producer offers orders until each is confirmed, those of a key one after the
// other.
type producer struct {
	lanes     []*lane
	confirmed atomic.Int64
	again     atomic.Int64 // sent again, as no answer came
}

// lane is some keys' orders.
type lane struct {
	mu       sync.Mutex
	orders   []order
	payloads [][]byte
	sent     bool // the first was sent before
}

// lanes are how many orders are on their way at a time.
const lanes = 8

func newProducer(orders []order, payloads [][]byte) *producer {
	f := &producer{}
	byKey := make(map[string]*lane)
	for range lanes {
		f.lanes = append(f.lanes, &lane{})
	}
	for i, o := range orders {
		l := byKey[o.Key]
		if l == nil {
			l = f.lanes[len(byKey)%lanes]
			byKey[o.Key] = l
		}
		l.orders, l.payloads = append(l.orders, o), append(l.payloads, payloads[i])
	}
	return f
}

// feed publishes until the process is gone, or stop is called.
func (f *producer) feed(run *process, topic string) (stop func()) {
	var feeding sync.WaitGroup
	done := make(chan struct{})
	for _, l := range f.lanes {
		feeding.Go(func() {
			for f.offer(run, topic, l) {
				select {
				case <-done:
					return
				default:
				}
			}
		})
	}
	return func() {
		close(done)
		feeding.Wait()
	}
}

// offer publishes a lane's next order. False: there is none, or it was not
// confirmed.
func (f *producer) offer(run *process, topic string, l *lane) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.orders) == 0 {
		return false
	}
	if l.sent {
		f.again.Add(1)
	}
	l.sent = true
	if status, _ := run.publish(topic, l.orders[0].ID, l.payloads[0]); status != http.StatusAccepted {
		return false
	}
	l.orders, l.payloads, l.sent = l.orders[1:], l.payloads[1:], false
	f.confirmed.Add(1)
	return true
}

// await waits until n more are confirmed.
func (f *producer) await(t *testing.T, run *process, n int) {
	t.Helper()
	target := f.confirmed.Load() + int64(n)
	run.await(func() bool { return f.confirmed.Load() >= target }, "orders are confirmed")
}

func (f *producer) left() int {
	n := 0
	for _, l := range f.lanes {
		l.mu.Lock()
		n += len(l.orders)
		l.mu.Unlock()
	}
	return n
}
