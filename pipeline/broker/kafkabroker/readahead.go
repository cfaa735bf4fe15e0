package kafkabroker

import (
	"context"
	"sync"
	"time"

	"github.com/IBM/sarama"
)

// Bytes of a subscription that are fetched and not yet delivered, shared out
// to its partitions, each of which gets at least one fetch.
const (
	aheadBytes    = 2 << 20
	aheadAtLeast  = fetchBytes
	aheadOverhead = 256 // of a record beside its key and value
)

// pausePatience is how long a partition of which enough is here may hold up the
// others before it is paused. sarama sleeps for a tenth of a second once all
// that it reads of a broker are paused, so those that only are busy must not be.
const pausePatience = 50 * time.Millisecond

// readAhead takes a partition's records from sarama as they come, so that a
// partition whose messages wait (its window is full, its head is stuck) does
// not hold up the others: sarama fetches for all partitions of a broker in
// one request and waits until all their records are taken. When enough are
// here, and stay here, the partition is paused, and not fetched any more until
// they are delivered.
type readAhead struct {
	p       *partition
	limit   int
	quit    chan struct{}
	reading sync.WaitGroup
	ready   chan struct{} // holds a token while there may be records
	taken   chan struct{} // holds a token once they are

	mu      sync.Mutex
	records []*sarama.ConsumerMessage
	spare   []*sarama.ConsumerMessage
	bytes   int
	paused  bool
}

// newReadAhead begins to read. It calls lost when sarama says that the
// partition is not ours any more.
func newReadAhead(p *partition, lost context.CancelFunc) *readAhead {
	share := aheadBytes / max(1, len(p.as.Claims()[p.topic()]))
	r := &readAhead{p: p, limit: max(aheadAtLeast, share), quit: make(chan struct{}), ready: make(chan struct{}, 1), taken: make(chan struct{}, 1)}
	r.reading.Go(func() {
		defer lost()
		r.read()
	})
	return r
}

func (r *readAhead) read() {
	for {
		select {
		case record, ours := <-r.p.feed.Messages():
			if !ours {
				return
			}
			r.push(record)
		case <-r.quit:
			return
		}
	}
}

func (r *readAhead) push(record *sarama.ConsumerMessage) {
	r.mu.Lock()
	r.records = append(r.records, record)
	r.bytes += len(record.Key) + len(record.Value) + aheadOverhead
	enough := !r.paused && r.bytes > r.limit
	r.mu.Unlock()
	signal(r.ready)
	if enough {
		r.waitOrPause()
	}
}

// waitOrPause waits until what is here is taken. After a while it has the
// partition paused instead.
func (r *readAhead) waitOrPause() {
	patience := time.NewTimer(pausePatience)
	defer patience.Stop()
	for r.pending() > r.limit {
		select {
		case <-r.taken:
		case <-patience.C:
			r.pause()
			return
		case <-r.quit:
			return
		}
	}
}

func (r *readAhead) pending() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.bytes
}

func (r *readAhead) pause() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.bytes > r.limit {
		r.paused = true
		r.p.group.Pause(r.which())
	}
}

func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// take returns the records that are here, waiting for some. They are good
// until the next take.
func (r *readAhead) take(ctx context.Context) ([]*sarama.ConsumerMessage, error) {
	for {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if records := r.swap(); len(records) > 0 {
			return records, nil
		}
		select {
		case <-r.ready:
		case <-ctx.Done():
		}
	}
}

func (r *readAhead) swap() []*sarama.ConsumerMessage {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.spare)
	records := r.records
	r.records, r.spare, r.bytes = r.spare[:0], records, 0
	r.resume()
	signal(r.taken)
	return records
}

func (r *readAhead) resume() {
	if r.paused {
		r.paused = false
		r.p.group.Resume(r.which())
	}
}

// stop ends the reading; sarama throws away what it has still got. A pause
// would outlive the claim.
func (r *readAhead) stop() {
	close(r.quit)
	r.reading.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.resume()
}

func (r *readAhead) which() map[string][]int32 {
	return map[string][]int32{r.p.topic(): {r.p.number}}
}
