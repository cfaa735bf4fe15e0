package kafkabroker

import (
	"context"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

func contextFor(d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.Background(), d)
}

func key(n int) string { return strconv.Itoa(n) }

// A handler that takes 12 seconds holds up nobody but its own partition while
// another member joins. With the published adapter the whole group stood
// still for 12 seconds.
func TestRebalance_SlowHandlerDoesNotStallTheGroup(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 4)
	one, two := b.start("one"), b.start("two")
	const slow = 12 * time.Second
	var slowBegan, slowEnded, done atomic.Int64
	handle := func(msg *message.Message) {
		if msg.UUID == "slow" {
			slowBegan.Add(1)
			select {
			case <-time.After(slow):
			case <-msg.Context().Done():
				return
			}
			slowEnded.Add(1)
		}
		msg.Ack()
		done.Add(1)
	}
	b.consume(one, handle)
	require.NoError(t, one.Publisher().Publish(b.topic.Name, message.NewMessage("slow", nil)))
	b.eventually(func() bool { return slowBegan.Load() == 1 }, "the slow handler runs")
	b.consume(two, handle)

	var longest time.Duration
	last, seen, published := time.Now(), int64(0), 0
	for began := time.Now(); time.Since(began) < slow-2*time.Second; time.Sleep(20 * time.Millisecond) { //nolint:forbidigo // the pace of a load
		b.publish(one, published, published+4, key)
		published += 4
		if now := done.Load(); now > seen {
			last, seen = time.Now(), now
		}
		longest = max(longest, time.Since(last))
	}
	require.Zero(t, slowEnded.Load(), "the slow handler still runs")
	require.Less(t, longest, slow/2, "the longest time without progress")
	b.eventually(func() bool { return done.Load() == int64(published)+1 }, "all are handled")
	require.EqualValues(t, 1, slowBegan.Load(), "the slow message was handled once")
}

// While one member waits for its slow handlers before it joins anew, another
// waits in its own join for that, as the group's protocol has it. It goes on
// fetching for the partitions that stay with it.
func TestRebalance_JoiningMemberFetchesOn(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 6)
	const slow = 8 * time.Second
	var began, ended atomic.Int64
	progress := map[string]*atomic.Int64{"one": {}, "two": {}, "three": {}}
	handle := func(name string) func(*message.Message) {
		return func(msg *message.Message) {
			if msg.UUID == "slow" && name == "one" {
				began.Add(1)
				select {
				case <-time.After(slow):
				case <-msg.Context().Done():
					return
				}
				ended.Add(1)
			}
			msg.Ack()
			progress[name].Add(1)
		}
	}
	drivers := make(map[string]*Broker)
	for name := range progress {
		drivers[name] = b.start(name)
	}
	published := 0
	publish := func() {
		b.publish(drivers["one"], published, published+20, key)
		published += 20
	}
	for _, name := range []string{"one", "two"} {
		b.consume(drivers[name], handle(name))
		b.eventually(func() bool { publish(); return progress[name].Load() > 0 }, name+" works")
	}
	for partition := range 6 { // a slow message in each partition
		n := 0
		for partitionOf(t, key(n), 6) != partition {
			n++
		}
		msg := keyedMessage(key(n))
		msg.UUID = "slow"
		require.NoError(t, drivers["one"].Publisher().Publish(b.topic.Name, msg))
	}
	b.eventually(func() bool { return began.Load() >= 3 }, "slow handlers run in all partitions of one")
	start := time.Now()
	// Both must give up a partition. One waits for its handlers; two does so
	// at once, and joins anew, which lasts until one has.
	b.consume(drivers["three"], handle("three"))
	seen, last, longest := map[string]int64{}, map[string]time.Time{}, map[string]time.Duration{}
	for time.Since(start) < slow-time.Second {
		publish()
		for _, name := range []string{"one", "two"} {
			now := progress[name].Load()
			if last[name].IsZero() || now > seen[name] {
				seen[name], last[name] = now, time.Now()
			}
			longest[name] = max(longest[name], time.Since(last[name]))
		}
		time.Sleep(20 * time.Millisecond) //nolint:forbidigo // the pace of a look
	}
	require.Zero(t, ended.Load(), "the slow handlers still run")
	for name, longest := range longest {
		require.Less(t, longest, slow/2, "the longest time in which member %s handled nothing", name)
	}
}

// A message that fails for ever neither keeps its member from giving up its
// partitions nor makes it a zombie that runs nothing else. With the published
// adapter the old member never handled anything again.
func TestRebalance_PoisonHandlerMakesNoZombie(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 4)
	names := []string{"one", "two"}
	var mu sync.Mutex
	good := map[string]map[string]bool{"one": {}, "two": {}}
	poison := map[string]int{}
	handle := func(name string) func(*message.Message) {
		return func(msg *message.Message) {
			mu.Lock()
			defer mu.Unlock()
			if msg.UUID == "poison" {
				poison[name]++
				msg.Nack()
				return
			}
			good[name][msg.UUID] = true
			msg.Ack()
		}
	}
	one, two := b.start("one"), b.start("two")
	b.consume(one, handle("one"))
	require.NoError(t, one.Publisher().Publish(b.topic.Name, message.NewMessage("poison", nil)))
	b.eventually(func() bool { mu.Lock(); defer mu.Unlock(); return poison["one"] > 2 }, "it fails again and again")
	b.consume(two, handle("two"))

	published := 0
	for _, name := range names {
		mu.Lock()
		before := len(good[name])
		mu.Unlock()
		b.eventually(func() bool {
			b.publish(one, published, published+8, key)
			published += 8
			mu.Lock()
			defer mu.Unlock()
			return len(good[name]) > before+8
		}, "member "+name+" handles good messages")
	}
	b.eventually(func() bool {
		mu.Lock()
		defer mu.Unlock()
		all := map[string]bool{}
		for _, name := range names {
			for id := range good[name] {
				all[id] = true
			}
		}
		return len(all) == published
	}, "all good ones are handled")

	// It runs at one member alone.
	mu.Lock()
	was := map[string]int{"one": poison["one"], "two": poison["two"]}
	mu.Unlock()
	b.eventually(func() bool {
		mu.Lock()
		defer mu.Unlock()
		return poison["one"] > was["one"] || poison["two"] > was["two"]
	}, "it is still tried")
	mu.Lock()
	defer mu.Unlock()
	require.False(t, poison["one"] > was["one"] && poison["two"] > was["two"], "both run the poison: %v then %v", was, poison)
}

// A partition whose window of offsets is used up by a stuck head does not
// keep the other partitions from being read.
func TestBackpressure_OneStuckPartitionBlocksNoOther(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 2)
	driver := b.start("c")
	keyOf := [2]string{}
	for n := 0; keyOf[0] == "" || keyOf[1] == ""; n++ {
		keyOf[partitionOf(t, key(n), 2)] = key(n)
	}
	var stuck, first, second atomic.Int64
	release := make(chan struct{})
	b.consume(driver, func(msg *message.Message) {
		switch {
		case msg.UUID == "stuck":
			stuck.Add(1)
			<-release
		case msg.Metadata.Get(pipeline.MetaPartitionKey) == keyOf[0]:
			first.Add(1)
		default:
			second.Add(1)
		}
		msg.Ack()
	})
	head := message.NewMessage("stuck", nil)
	head.Metadata.Set(pipeline.MetaPartitionKey, keyOf[0])
	require.NoError(t, driver.Publisher().Publish(b.topic.Name, head))
	b.eventually(func() bool { return stuck.Load() == 1 }, "the head is stuck")
	const more = maxSpan + 6000
	for n := 0; n < more; n += 5000 {
		b.publish(driver, n, n+5000, func(int) string { return keyOf[0] })
	}
	b.eventually(func() bool { return first.Load() == maxSpan-1 }, "its partition is read as far as can be remembered")
	for n := range 20 {
		b.publish(driver, n*100, n*100+100, func(int) string { return keyOf[1] })
		b.eventually(func() bool { return second.Load() == int64(n+1)*100 }, "the other partition is read")
	}
	require.EqualValues(t, maxSpan-1, first.Load(), "no further")

	// What was done above the stuck head fits into the commit's metadata and
	// is not done again.
	b.eventually(func() bool {
		at := b.committed(driver, int32(partitionOf(t, keyOf[0], 2)))
		return at.next == 0 && len(at.above) == maxSpan-1
	}, "everything above the head is committed")
	close(release)
	b.eventually(func() bool { return first.Load() == more }, "all are read once the head is done")
}

func partitionOf(_ testing.TB, key string, partitions int) int {
	var p partitioner
	return p.choose(encode(nil, pipeline.Topic{}, keyedMessage(key)).key, 0, partitions)
}

func keyedMessage(key string) *message.Message {
	msg := message.NewMessage("x", nil)
	msg.Metadata.Set(pipeline.MetaPartitionKey, key)
	return msg
}

// committed reads what the subscription has committed of a partition.
func (b *rig) committed(driver *Broker, partition int32) position {
	c := committer{b: driver, group: b.sub.Name, topic: b.topic.Name}
	at, err := c.read(partition)
	require.NoError(b, err)
	return at
}
