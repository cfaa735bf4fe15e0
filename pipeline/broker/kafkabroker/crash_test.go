package kafkabroker

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// crash ends a driver as SIGKILL does: its connections are cut, and nothing
// more of it reaches Kafka.
func crash(driver *Broker) { driver.cancel() }

// A crash in the middle of out-of-order acks repeats what was open, and of
// what was done above only what the last quarter of a second brought.
func TestCrash_KeepsWhatIsDoneOutOfOrder(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1, func(s *broker.Subscription) { s.Concurrency, s.InFlight = 100, 100 })
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
	require.Less(t, time.Since(began), sessionTimeout, "under its name a member need not wait for its old session to end")
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
	b := newRig(t, cluster(kafkaBrokers(t)), 1)
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
		drained(t, s)
		require.True(t, b.committed(driver, 0).clean)
	}
}

// A member that drains leaves the group, though it has an instance name:
// another takes over at once, and not when the session has ended.
func TestDrain_OthersTakeOverAtOnce(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 2)
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
	require.Less(t, time.Since(began), sessionTimeout)
}

// Two processes under one name: the newer one works, the older one says what
// is wrong, and works again once the newer one has gone.
func TestInstance_UsedTwice(t *testing.T) {
	t.Parallel()
	b := newRig(t, cluster(kafkaBrokers(t)), 1)
	one, two := b.start("same"), b.start("same")
	var ones, twos atomic.Int64
	b.consume(one, func(msg *message.Message) { ones.Add(1); msg.Ack() })
	b.publish(one, 0, 10, nil)
	b.eventually(func() bool { return ones.Load() == 10 }, "the first works")
	second := b.consume(two, func(msg *message.Message) { twos.Add(1); msg.Ack() })
	b.eventually(func() bool {
		b.publish(two, 0, 1, nil)
		return twos.Load() > 0
	}, "the second takes its place")
	b.eventually(func() bool { return strings.Contains(strings.Join(one.Health().Incidents, " "), `instance "same"`) },
		"the first says why it stands still")
	drained(t, second)
	before := ones.Load()
	b.publish(one, 0, 10, nil)
	b.eventually(func() bool { return ones.Load() >= before+10 }, "the first works again")
}
