package embedbroker

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
)

const (
	// defaultAge is how long messages are kept where the topic does not say.
	defaultAge = 7 * 24 * time.Hour
	// keepEvery is how often the keeper looks.
	keepEvery = time.Minute
	// deleteChunk bounds one delete, so that publishes do not wait for it:
	// deleting 100,000 at once held them up for a third of a second.
	deleteChunk = 500
	// sizeSamples is how many messages are weighed to know a topic's size.
	sizeSamples = 256
)

// keeper deletes what need not be kept, off the hot path, and finds out when
// a full disk has room again.
type keeper struct {
	log  *log
	life context.Context
	end  context.CancelFunc
	done chan struct{}

	mu     sync.Mutex
	topics map[string]pipeline.Topic
	subs   map[string][]string // topic → subscriptions
}

func startKeeper(l *log) *keeper {
	life, end := context.WithCancel(context.Background())
	k := &keeper{
		log: l, life: life, end: end, done: make(chan struct{}),
		topics: make(map[string]pipeline.Topic), subs: make(map[string][]string),
	}
	go k.run()
	return k
}

func (k *keeper) stop() {
	k.end()
	<-k.done
}

// watch adds topics to keep in bounds, and who reads them.
func (k *keeper) watch(topics []pipeline.Topic, subs []broker.Subscription) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range topics {
		k.topics[t.Name] = t
	}
	for _, s := range subs {
		if names := k.subs[s.Topic.Name]; !slices.Contains(names, s.Name) {
			k.subs[s.Topic.Name] = append(names, s.Name)
		}
	}
}

func (k *keeper) run() {
	defer close(k.done)
	keep, probe := time.NewTicker(keepEvery), time.NewTicker(troublePause)
	defer keep.Stop()
	defer probe.Stop()
	for {
		select {
		case <-keep.C:
			k.sweep(time.Now())
		case <-probe.C:
			if why, _ := k.log.trouble.get(); why != "" {
				_ = k.log.write(k.life, touch) // what it says, trouble notes
			}
		case <-k.life.Done():
			return
		}
	}
}

// touch writes a page without changing anything.
func touch(tx *sqlitefile.Tx) error {
	_, err := tx.Exec("UPDATE topic SET name = name WHERE id = (SELECT min(id) FROM topic)")
	return err
}

// sweep deletes what is over age or size in every topic.
func (k *keeper) sweep(now time.Time) {
	k.mu.Lock()
	topics := make([]pipeline.Topic, 0, len(k.topics))
	for _, t := range k.topics {
		topics = append(topics, t)
	}
	k.mu.Unlock()
	for _, topic := range topics {
		// An error is for the next sweep: a disk in trouble says so in health.
		t, err := k.log.topic(k.life, topic.Name)
		if err != nil {
			continue
		}
		if bound, err := k.bound(t, topic, now); err == nil {
			k.delete(t, bound)
		}
	}
}

// bound is the pos before which a topic's messages may go.
func (k *keeper) bound(t *topicLog, topic pipeline.Topic, now time.Time) (int64, error) {
	byAge, err := k.byAge(t, topic, now)
	if err != nil {
		return 0, err
	}
	bySize, err := k.bySize(t, topic.Retention.Bytes)
	if err != nil {
		return 0, err
	}
	last, _ := t.tip()
	bound := min(max(byAge, bySize), last) // the last one stays: it says that there were some
	k.mu.Lock()
	subs := slices.Clone(k.subs[topic.Name])
	k.mu.Unlock()
	for _, name := range subs {
		c, err := k.log.cursor(k.life, name)
		if err != nil {
			return 0, err
		}
		upto, _, _, _ := c.state()
		bound = min(bound, upto+1)
	}
	return bound, nil
}

// byAge returns the pos of the first message that is young enough; 0: age
// does not matter.
func (k *keeper) byAge(t *topicLog, topic pipeline.Topic, now time.Time) (int64, error) {
	age := topic.Retention.Age
	if age == 0 && !topic.DeadLetter && topic.Retention.Bytes == 0 {
		age = defaultAge
	}
	if age <= 0 {
		return 0, nil
	}
	return k.log.since(k.life, t, now.Add(-age))
}

// bySize returns the pos from which on the topic's messages are within size,
// as far as samples tell; 0: size does not matter.
func (k *keeper) bySize(t *topicLog, size int64) (int64, error) {
	if size <= 0 {
		return 0, nil
	}
	oldest, err := k.log.oldest(k.life, t)
	if err != nil {
		return 0, err
	}
	last, _ := t.tip()
	count := last + 1 - oldest
	samples := min(count, sizeSamples)
	if samples == 0 {
		return 0, nil
	}
	var weighed int64
	for i := range samples {
		var n int64
		err := k.log.file.Reader().QueryRowContext(k.life,
			"SELECT length(id) + coalesce(length(meta), 0) + length(payload) FROM message WHERE pos >= ? AND pos < ? ORDER BY pos LIMIT 1",
			oldest+i*count/samples, t.end()).Scan(&n)
		if err != nil {
			return 0, err
		}
		weighed += n
	}
	keep := size * samples / max(weighed, 1)
	return last + 1 - min(keep, count), nil
}

// delete removes a topic's messages before bound, a chunk a transaction.
func (k *keeper) delete(t *topicLog, bound int64) {
	for {
		var deleted int64
		err := k.log.write(k.life, func(tx *sqlitefile.Tx) error {
			result, err := tx.Exec("DELETE FROM message WHERE pos IN (SELECT pos FROM message WHERE pos > ? AND pos < ? ORDER BY pos LIMIT ?)",
				t.first(), bound, deleteChunk)
			if err != nil {
				return err
			}
			deleted, err = result.RowsAffected()
			return err
		})
		if err != nil || deleted < deleteChunk {
			return
		}
	}
}
