package kafkabroker

import (
	"net"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// A broker that is killed and started again under load is consumed from
// again within five seconds of its port opening, whether its members' session
// has ended by then or not, and nothing that was confirmed is lost.
//
//nolint:paralleltest // its times are what it is about
func TestRestart_ConsumesWithinFiveSeconds(t *testing.T) {
	c, addr, dir := privateNode(t)
	runNode(t, "start", dir, addr)
	b := newRig(t, c, 4, func(s *broker.Subscription) { s.Ordering = pipeline.OrderingKey })
	driver := b.start("c")
	var mu sync.Mutex
	runs := make(map[string]int)
	var handled time.Time // the last one
	b.consume(driver, func(msg *message.Message) {
		mu.Lock()
		runs[msg.UUID]++
		handled = time.Now()
		mu.Unlock()
		msg.Ack()
	})
	confirmed, stop := publishSteadily(t, driver, b.topic.Name)
	b.eventually(func() bool { mu.Lock(); defer mu.Unlock(); return len(runs) > 20 }, "it consumes")
	for _, down := range []time.Duration{0, sessionTimeout + 2*time.Second} {
		runNode(t, "kill", dir, addr)
		time.Sleep(down) //nolint:forbidigo // how long the broker is away
		opened := make(chan time.Time, 1)
		go func() { opened <- awaitPort(addr) }()
		runNode(t, "start", dir, addr)
		open := <-opened
		b.eventually(func() bool { mu.Lock(); defer mu.Unlock(); return handled.After(open) }, "it consumes again")
		mu.Lock()
		took := handled.Sub(open)
		mu.Unlock()
		t.Logf("down %v more: consuming again %v after the port opened", down, took)
	}
	stop()
	b.eventually(func() bool {
		mu.Lock()
		defer mu.Unlock()
		for _, id := range confirmed() {
			if runs[id] == 0 {
				return false
			}
		}
		return true
	}, "all that was confirmed is handled")
	mu.Lock()
	defer mu.Unlock()
	repeats := 0
	for _, n := range runs {
		repeats += n - 1
	}
	t.Logf("%d confirmed, %d handled, %d repeats", len(confirmed()), len(runs), repeats)
}

func awaitPort(addr string) time.Time {
	for {
		if conn, err := net.DialTimeout("tcp", addr, time.Second); err == nil {
			_ = conn.Close()
			return time.Now()
		}
		time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the pace of a look
	}
}

// publishSteadily publishes until stop, each message again until it is
// confirmed.
func publishSteadily(t *testing.T, driver *Broker, topic string) (confirmed func() []string, stop func()) {
	var mu sync.Mutex
	var ids []string
	var work sync.WaitGroup
	quit := make(chan struct{})
	for p := range 4 {
		work.Go(func() {
			for n := 0; ; n++ {
				id := strconv.Itoa(p) + "-" + strconv.Itoa(n)
				for {
					select {
					case <-quit:
						return
					default:
					}
					ctx, cancel := contextFor(2 * time.Second)
					msg := keyedMessage(strconv.Itoa(n % 10))
					msg.UUID = id
					msg.SetContext(ctx)
					err := driver.Publisher().Publish(topic, msg)
					cancel()
					if err == nil {
						break
					}
					time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the pace of a load
				}
				mu.Lock()
				ids = append(ids, id)
				mu.Unlock()
				time.Sleep(2 * time.Millisecond) //nolint:forbidigo // the pace of a load
			}
		})
	}
	stop = sync.OnceFunc(func() { close(quit); work.Wait() })
	t.Cleanup(stop)
	return func() []string { mu.Lock(); defer mu.Unlock(); return ids }, stop
}
