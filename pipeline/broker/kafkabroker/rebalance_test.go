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
	"github.com/waybill-dev/waybill/pipeline/broker"
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
	b := newBench(t, cluster(kafkaBrokers(t)), 4)
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
	for began := time.Now(); time.Since(began) < slow-2*time.Second; time.Sleep(20 * time.Millisecond) {
		b.publish(one, published, published+4, key)
		published += 4
		if now := done.Load(); now > seen {
			last, seen = time.Now(), now
		}
		longest = max(longest, time.Since(last))
	}
	require.Zero(t, slowEnded.Load(), "the slow handler still runs")
	require.Less(t, longest, 2500*time.Millisecond, "the longest time without progress")
	b.eventually(func() bool { return done.Load() == int64(published)+1 }, "all are handled")
	require.EqualValues(t, 1, slowBegan.Load(), "the slow message was handled once")
}

// A message that fails for ever neither keeps its member from giving up its
// partitions nor makes it a zombie that runs nothing else. With the published
// adapter the old member never handled anything again.
func TestRebalance_PoisonHandlerMakesNoZombie(t *testing.T) {
	t.Parallel()
	b := newBench(t, cluster(kafkaBrokers(t)), 4)
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
	b := newBench(t, cluster(kafkaBrokers(t)), 2)
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
		began := time.Now()
		b.publish(driver, n*100, n*100+100, func(int) string { return keyOf[1] })
		b.eventually(func() bool { return second.Load() == int64(n+1)*100 }, "the other partition is read")
		require.Less(t, time.Since(began), 3*time.Second)
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

func partitionOf(t testing.TB, key string, partitions int32) int {
	record := encode(pipeline.Topic{}, keyedMessage(key))
	p, err := newPartitioner("").Partition(record, partitions)
	require.NoError(t, err)
	return int(p)
}

func keyedMessage(key string) *message.Message {
	msg := message.NewMessage("x", nil)
	msg.Metadata.Set(pipeline.MetaPartitionKey, key)
	return msg
}

// committed reads what the subscription has committed of a partition.
func (b *bench) committed(driver *Broker, partition int32) position {
	c := committer{b: driver, group: b.sub.Name, topic: b.topic.Name}
	at, err := c.read(partition)
	require.NoError(b, err)
	return at
}

// crash ends a driver as SIGKILL does: its connections are cut, and nothing
// more of it reaches Kafka.
func crash(driver *Broker) { driver.cancel() }

// A crash in the middle of out-of-order acks repeats what was open, and of
// what was done above only what the last quarter of a second brought.
func TestCrash_KeepsWhatIsDoneOutOfOrder(t *testing.T) {
	t.Parallel()
	b := newBench(t, cluster(kafkaBrokers(t)), 1, func(s *broker.Subscription) { s.Concurrency, s.InFlight = 100, 100 })
	one := b.start("same")
	b.publish(one, 0, 100, nil)
	var done atomic.Int64
	b.consume(one, func(msg *message.Message) {
		if n, _ := strconv.Atoi(msg.UUID); n%10 == 3 {
			<-msg.Context().Done() // stays open
			return
		}
		msg.Ack()
		done.Add(1)
	})
	b.eventually(func() bool { return done.Load() == 90 && len(b.committed(b.start("w"), 0).above) == 87 }, "all but ten are done and committed")
	crash(one)

	began := time.Now()
	two := b.start("same")
	var mu sync.Mutex
	again := map[string]bool{}
	b.consume(two, func(msg *message.Message) {
		mu.Lock()
		again[msg.UUID] = pipeline.OriginOf(msg.Context()).Redelivered
		mu.Unlock()
		msg.Ack()
	})
	b.publish(two, 1000, 1001, nil)
	b.eventually(func() bool { mu.Lock(); defer mu.Unlock(); _, ok := again["1000"]; return ok && len(again) >= 11 }, "the open ones come again")
	require.Less(t, time.Since(began), sessionTimeout/2, "under its name a member need not wait for its old session to end")
	mu.Lock()
	defer mu.Unlock()
	require.Len(t, again, 11)
	for n := 3; n < 100; n += 10 {
		redelivered, came := again[strconv.Itoa(n)]
		require.True(t, came, "%d", n)
		require.True(t, redelivered, "%d says that it may have been handed out before", n)
	}
}

// Where nothing was left in hand, nothing is suspected afterwards.
func TestDrain_LeavesNoSuspects(t *testing.T) {
	t.Parallel()
	b := newBench(t, cluster(kafkaBrokers(t)), 1)
	for round := range 2 {
		driver := b.start("c" + strconv.Itoa(round))
		b.publish(driver, round*10, round*10+10, nil)
		var got, suspects atomic.Int64
		s := b.consume(driver, func(msg *message.Message) {
			if pipeline.OriginOf(msg.Context()).Redelivered {
				suspects.Add(1)
			}
			got.Add(1)
			msg.Ack()
		})
		b.eventually(func() bool { return got.Load() == 10 }, "ten come")
		require.Zero(t, suspects.Load(), "round %d", round)
		began := time.Now()
		drained(t, s)
		require.Less(t, time.Since(began), 3*time.Second)
		require.True(t, b.committed(driver, 0).clean)
	}
}

// A member that drains leaves the group, though it has an instance name:
// another takes over at once, and not when the session has ended.
func TestDrain_OthersTakeOverAtOnce(t *testing.T) {
	t.Parallel()
	b := newBench(t, cluster(kafkaBrokers(t)), 2)
	one, two := b.start("one"), b.start("two")
	var ones, twos atomic.Int64
	s := b.consume(one, func(msg *message.Message) { ones.Add(1); msg.Ack() })
	b.publish(one, 0, 10, key)
	b.eventually(func() bool { return ones.Load() == 10 }, "one works alone")
	drained(t, s)
	began := time.Now()
	b.consume(two, func(msg *message.Message) { twos.Add(1); msg.Ack() })
	b.publish(two, 10, 20, key)
	b.eventually(func() bool { return twos.Load() == 10 }, "two takes over")
	require.Less(t, time.Since(began), sessionTimeout/2)
}
