package kafkabroker

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/IBM/sarama"
	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// BenchmarkDrain drains a topic of 1 KB messages on 4 partitions to another:
// consume, publish with confirmation, acknowledge. It does so in turn with
// bare sarama, pipelined, and with this driver under a trivial handler, and
// reports the ratio of the two within each round. b.N counts rounds. With
// "job" both do some 20 µs of JSON for each message, as preparing an order
// takes.
func BenchmarkDrain(b *testing.B) {
	addr := kafkaBrokers(b)
	for name, work := range map[string]func([]byte) []byte{"trivial": nothing, "job": decodeAndEncode} {
		for _, concurrency := range []int{64, 256} {
			b.Run(fmt.Sprintf("%s/%d", name, concurrency), func(b *testing.B) {
				d := newDrain(b, cluster(addr), work, concurrency)
				var bare, ours, ratio, cpu float64
				for b.Loop() {
					rateBare, cpuBare := d.measure(d.bare)
					rateOurs, cpuOurs := d.measure(d.ours)
					bare, ours = bare+rateBare, ours+rateOurs
					ratio, cpu = ratio+rateOurs/rateBare, cpu+cpuOurs/cpuBare
				}
				n := float64(b.N)
				b.ReportMetric(bare/n, "bare-msg/s")
				b.ReportMetric(ours/n, "msg/s")
				b.ReportMetric(ratio/n, "ratio")
				b.ReportMetric(cpu/n, "cpu-ratio")
			})
		}
	}
}

const (
	drainMessages   = 60_000
	drainPartitions = 4
)

func nothing(payload []byte) []byte { return payload }

func decodeAndEncode(payload []byte) []byte {
	var order map[string]any
	if err := json.Unmarshal(payload, &order); err != nil {
		panic(err)
	}
	out, _ := json.Marshal(order)
	return out
}

// anOrder is 1 KB of JSON.
func anOrder() []byte {
	var lines []map[string]any
	for n := range 6 {
		lines = append(lines, map[string]any{
			"sku": fmt.Sprint("sku-", n), "type": "frame", "quantity": n, "price": "199.90", "name": "a pair of frames, in black", "notes": "none at all",
		})
	}
	order, _ := json.Marshal(map[string]any{"orderId": "o-1", "customer": "c-1", "currency": "INR", "order_lines": lines})
	return order
}

type drain struct {
	*rig
	out         pipeline.Topic
	work        func([]byte) []byte
	concurrency int
}

func newDrain(b *testing.B, c cluster, work func([]byte) []byte, concurrency int) *drain {
	d := &drain{work: work, concurrency: concurrency}
	d.rig = newRig(b, c, drainPartitions)
	d.out = pipeline.Topic{Name: d.topic.Name + ".out", Partitions: drainPartitions, Provision: pipeline.ProvisionCreate}
	driver := d.driver()
	require.NoError(b, driver.Provision(context.Background(), []pipeline.Topic{d.out}, nil))
	b.Cleanup(func() { c.remove(b, []pipeline.Topic{d.out}, nil) })
	payload := anOrder()
	for n := 0; n < drainMessages; n += 5000 {
		var msgs []*message.Message
		for i := range 5000 {
			msg := message.NewMessage(uuid.NewString(), payload)
			msg.Metadata.Set(pipeline.MetaPartitionKey, fmt.Sprint("key", (n+i)%1000))
			msgs = append(msgs, msg)
		}
		require.NoError(b, driver.Publisher().Publish(d.topic.Name, msgs...))
	}
	require.NoError(b, driver.Close())
	return d
}

func (d *drain) driver() *Broker {
	driver := d.open(d, broker.Options{Instance: "bench", Log: quiet(), Topic: func(name string) (pipeline.Topic, bool) {
		if name == d.out.Name {
			return d.out, true
		}
		return d.topic, name == d.topic.Name
	}})
	return driver.(*Broker)
}

// measure returns messages a second and CPU seconds of this process a
// message. run calls begun when the first message is there, and returns when
// the last is acknowledged.
func (d *drain) measure(run func(group string, begun func())) (rate, cpu float64) {
	var began time.Time
	var cpuBegan float64
	run(d.topic.Name+"."+uuid.NewString()[:8], sync.OnceFunc(func() { began, cpuBegan = time.Now(), cpuTime() }))
	took := time.Since(began).Seconds()
	return drainMessages / took, (cpuTime() - cpuBegan) / drainMessages
}

func cpuTime() float64 {
	var usage syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &usage)
	return float64(usage.Utime.Nano()+usage.Stime.Nano()) / 1e9
}

// ours drains through the driver.
func (d *drain) ours(group string, begun func()) {
	driver := d.driver()
	sub := broker.Subscription{
		Name: group, Handler: "h", Topic: d.topic, Ordering: pipeline.OrderingKey,
		Concurrency: d.concurrency, InFlight: 8 * d.concurrency,
	}
	s := broker.NewSubscriber(sub, driver.Source(sub), quiet())
	messages, err := s.Subscribe(context.Background(), d.topic.Name)
	require.NoError(d, err)
	var left atomic.Int64
	left.Store(drainMessages)
	done := make(chan struct{})
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		<-done
		if err := s.Drain(context.Background()); err != nil {
			panic(err)
		}
	}()
	publisher := driver.Publisher()
	for msg := range messages {
		begun()
		go func() {
			out := message.NewMessage(msg.UUID, d.work(msg.Payload))
			out.Metadata.Set(pipeline.MetaPartitionKey, msg.Metadata[pipeline.MetaPartitionKey])
			out.SetContext(msg.Context())
			if err := publisher.Publish(d.out.Name, out); err != nil {
				panic(err)
			}
			msg.Ack()
			if left.Add(-1) == 0 {
				close(done)
			}
		}()
	}
	<-drained
	require.NoError(d, driver.Close())
}

// bare drains with sarama alone, with as many records unconfirmed as there are
// handlers here, as one would write it by hand: a goroutine a
// partition sends on what it reads, results come back in any order, and
// offsets are marked where everything below is confirmed. Acknowledgements
// and batches are as the driver has them; handlers, lanes, metadata and
// deadlines there are none.
func (d *drain) bare(group string, begun func()) {
	config := d.config()
	config.Producer.RequiredAcks = sarama.WaitForAll
	config.Producer.Idempotent = true
	config.Net.MaxOpenRequests = 1 // what that costs in sarama
	config.Producer.Return.Successes = true
	config.Metadata.Full = false
	producer, err := sarama.NewAsyncProducer([]string{string(d.cluster)}, config)
	require.NoError(d, err)
	consumer := d.config()
	consumer.Consumer.Offsets.AutoCommit.Interval = commitEvery
	consumer.Consumer.MaxWaitTime = fetchWait
	members, err := sarama.NewConsumerGroup([]string{string(d.cluster)}, group, consumer)
	require.NoError(d, err)
	h := &bareHandler{
		out: d.out.Name, work: d.work, producer: producer, begun: begun, done: make(chan struct{}),
		room: make(chan struct{}, d.concurrency),
	}
	h.left.Store(drainMessages)
	var work sync.WaitGroup
	work.Go(h.results)
	work.Go(func() {
		for err := range producer.Errors() {
			panic(err)
		}
	})
	ctx, cancel := context.WithCancel(context.Background())
	work.Go(func() { _ = members.Consume(ctx, []string{d.topic.Name}, h) })
	<-h.done
	cancel()
	require.NoError(d, members.Close())
	producer.AsyncClose()
	work.Wait()
}

type bareHandler struct {
	out      string
	work     func([]byte) []byte
	producer sarama.AsyncProducer
	begun    func()
	left     atomic.Int64
	done     chan struct{}
	room     chan struct{} // holds a token for each record that is not confirmed
}

type bareInput struct {
	claim *bareClaim
	msg   *sarama.ConsumerMessage
}

type bareClaim struct {
	mu   sync.Mutex
	sess sarama.ConsumerGroupSession
	next int64
	done map[int64]bool
}

func (h *bareHandler) Setup(sarama.ConsumerGroupSession) error   { return nil }
func (h *bareHandler) Cleanup(sarama.ConsumerGroupSession) error { return nil }

func (h *bareHandler) ConsumeClaim(sess sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	c := &bareClaim{sess: sess, done: make(map[int64]bool)}
	for msg := range claim.Messages() {
		h.begun()
		h.room <- struct{}{}
		h.producer.Input() <- &sarama.ProducerMessage{
			Topic: h.out, Key: sarama.ByteEncoder(msg.Key), Value: sarama.ByteEncoder(h.work(msg.Value)),
			Headers: bareHeaders(msg.Headers), Metadata: bareInput{c, msg},
		}
	}
	return nil
}

func bareHeaders(in []*sarama.RecordHeader) []sarama.RecordHeader {
	out := make([]sarama.RecordHeader, len(in))
	for i, h := range in {
		out[i] = *h
	}
	return out
}

func (h *bareHandler) results() {
	for record := range h.producer.Successes() {
		<-h.room
		in := record.Metadata.(bareInput)
		in.claim.mark(in.msg)
		if h.left.Add(-1) == 0 {
			close(h.done)
		}
	}
}

func (c *bareClaim) mark(msg *sarama.ConsumerMessage) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.done[msg.Offset] = true
	next := c.next
	for ; c.done[next]; next++ {
		delete(c.done, next)
	}
	if next > c.next {
		c.sess.MarkOffset(msg.Topic, msg.Partition, next, "")
	}
	c.next = next
}

// BenchmarkCodec is what a message costs beside sarama, in and out.
func BenchmarkCodec(b *testing.B) {
	msg := message.NewMessage(uuid.NewString(), bytes.Repeat([]byte("x"), 1000))
	msg.Metadata = message.Metadata{pipeline.MetaPartitionKey: "key 1", pipeline.MetaCorrelationID: "c-1", pipeline.MetaContentType: "application/json"}
	topic := pipeline.Topic{Name: "orders"}
	record := received(b, encode(nil, topic, msg))
	b.Run("encode", func(b *testing.B) {
		b.ReportAllocs()
		var memory []byte
		for b.Loop() {
			memory = encode(memory, topic, msg).body
		}
	})
	b.Run("decode", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			decode(topic, record)
		}
	})
}
