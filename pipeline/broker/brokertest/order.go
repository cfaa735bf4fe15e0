package brokertest

import (
	"math/rand/v2"
	"runtime"
	"strconv"
	"sync"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// orderPerKey: with 64 handlers at a time, messages of one key begin in the
// order they were published and never run side by side, while many keys do.
func orderPerKey(f *fixture) {
	const keys, total = 40, 2000
	b := f.open()
	sub := f.subscription(f.topic(f.partitioned), ordered(pipeline.OrderingKey, 64))
	f.provision(b, sub)
	watch := newKeyWatch()
	c := f.consume(b, sub, func(msg *message.Message) verdict {
		defer watch.enter(msg)()
		for range rand.IntN(20) { //nolint:gosec // shuffles the handlers
			runtime.Gosched()
		}
		return ack
	})
	for from := 0; from < total; from += 500 {
		f.publish(b, sub.Topic, f.messages(sub.Topic, from, from+500, keys)...)
	}
	f.eventually(func() bool { return c.acked() == total }, "all are handled")
	watch.require(f)
	requireKeyOrder(f, c.log())
}

// keysRunSideBySide: different keys do not wait for each other, also those
// of one partition or queue.
func keysRunSideBySide(f *fixture) {
	b, sub := f.ready(ordered(pipeline.OrderingKey, 64))
	gate := make(chan struct{})
	c := f.consume(b, sub, until(gate))
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, 200, 64)...)
	f.eventually(func() bool { running, _, _ := c.count(); return running == 64 }, "64 keys run side by side")
	close(gate)
	f.eventually(func() bool { return c.acked() == 200 }, "all are handled")
	requireKeyOrder(f, c.log())
}

// orderPerKeySurvivesTakeovers: two instances; each is closed under load, the
// other takes over, and for every key the first runs of its messages are in
// order. Nothing is lost.
func orderPerKeySurvivesTakeovers(f *fixture) {
	const keys, batch = 20, 200
	topic := f.topic(f.partitioned)
	sub := f.subscription(topic, ordered(pipeline.OrderingKey, 64))
	pub := f.open()
	f.provision(pub, sub)

	var mu sync.Mutex
	var seen []run
	total, done := 0, make(map[string]bool)
	handle := func(msg *message.Message) verdict {
		seq, _ := strconv.Atoi(msg.Metadata.Get(metaSeq))
		mu.Lock()
		seen = append(seen, run{id: msg.UUID, key: msg.Metadata.Get(pipeline.MetaPartitionKey), seq: seq})
		mu.Unlock()
		runtime.Gosched()
		if msg.Context().Err() != nil {
			return leave
		}
		mu.Lock()
		defer mu.Unlock()
		done[msg.UUID] = true
		return ack
	}
	finished := func() int {
		mu.Lock()
		defer mu.Unlock()
		return len(done)
	}
	publish := func() {
		f.publish(pub, topic, f.messages(topic, total, total+batch, keys)...)
		total += batch
	}
	names := [2]string{f.prefix + "-left", f.prefix + "-right"}
	var brokers [2]broker.Broker
	var consumers [2]*consumer
	start := func(i int) {
		brokers[i] = f.openAs(names[i])
		s := sub
		s.Instance = names[i]
		consumers[i] = f.consume(brokers[i], s, handle)
	}
	start(0)
	publish()
	f.eventually(func() bool { return finished() > 0 }, "the first instance works")
	start(1)
	for round := range 4 {
		i := round % 2
		publish()
		before := finished()
		f.eventually(func() bool { return finished() > before || finished() == total }, "work goes on")
		publish()
		consumers[i].close()
		f.closed(brokers[i])
		f.eventually(func() bool { return finished() == total }, "the other instance takes over, round %d", round)
		start(i)
	}
	publish()
	f.eventually(func() bool { return finished() == total }, "all are handled")
	requireKeyOrder(f, seen)
}

// orderOfPartition: with `ordering: partition` a partition's messages, or on
// brokers without any the whole subscription's, run one at a time in order.
func orderOfPartition(f *fixture) {
	const total = 300
	b, sub := f.ready(ordered(pipeline.OrderingPartition, 32))
	f.publish(b, sub.Topic, f.messages(sub.Topic, 0, total, 7)...)
	c := f.consume(b, sub, nil)
	f.eventually(func() bool { return c.acked() == total }, "all are handled")
	_, peak, _ := c.count()
	require.Equal(f, 1, peak, "handlers at a time")
	for i, r := range firstRuns(c.log()) {
		require.Equal(f, i, r.seq, "place of a message")
	}
}

// firstRuns drops repeats by id and keeps the first.
func firstRuns(runs []run) []run {
	seen := make(map[string]bool)
	var first []run
	for _, r := range runs {
		if !seen[r.id] {
			seen[r.id] = true
			first = append(first, r)
		}
	}
	return first
}

// requireKeyOrder requires that for each key the first runs' numbers rise.
func requireKeyOrder(f *fixture, runs []run) {
	f.Helper()
	last := make(map[string]int)
	for _, r := range firstRuns(runs) {
		if before, ok := last[r.key]; ok {
			require.Greater(f, r.seq, before, "order of key %s", r.key)
		}
		last[r.key] = r.seq
	}
}

// keyWatch notes when two handlers of one key run at the same time.
type keyWatch struct {
	mu     sync.Mutex
	inside map[string]string
	clash  string
}

func newKeyWatch() *keyWatch { return &keyWatch{inside: make(map[string]string)} }

// enter says that msg's handler begins; the function it returns, that it ends.
func (w *keyWatch) enter(msg *message.Message) func() {
	key := msg.Metadata.Get(pipeline.MetaPartitionKey)
	w.mu.Lock()
	defer w.mu.Unlock()
	if other, busy := w.inside[key]; busy {
		w.clash = other + " and " + msg.UUID
	}
	w.inside[key] = msg.UUID
	return func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.inside, key)
	}
}

func (w *keyWatch) require(f *fixture) {
	f.Helper()
	w.mu.Lock()
	defer w.mu.Unlock()
	require.Empty(f, w.clash, "messages of one key that ran side by side")
}
