package rabbitbroker

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	amqp "github.com/rabbitmq/amqp091-go"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// BenchmarkDrain preloads b.N messages of 1 KB and drains them: consume,
// publish with confirm, ack. In turn: a bare amqp091-go client that pipelines
// (raw-p500 of performance.md), then Waybill's subscriber and publisher. The
// ratios are taken within a round, their median is reported.
//
//	go test -run '^$' -bench Drain -benchtime 30000x
func BenchmarkDrain(b *testing.B) {
	s := shared(b)
	for _, kind := range []string{"quorum", "classic"} {
		for _, run := range []struct {
			name        string
			concurrency int
			ordering    pipeline.Ordering
		}{
			{"64", 64, pipeline.OrderingNone},
			{"256", 256, pipeline.OrderingNone},
			{"64ByKey", 64, pipeline.OrderingKey},
		} {
			b.Run(kind+"/"+run.name, func(b *testing.B) {
				if b.N < 100 {
					return // the testing package feels its way
				}
				var raw, ours []drained
				for range 3 {
					raw = append(raw, drain(b, s, kind, run.ordering, run.concurrency, rawDrain))
					ours = append(ours, drain(b, s, kind, run.ordering, run.concurrency, ourDrain))
				}
				report(b, raw, ours)
			})
		}
	}
}

// drained is one drain: messages a second, and CPU seconds of this process
// per 1,000 messages.
type drained struct{ rate, cpu float64 }

func report(b *testing.B, raw, ours []drained) {
	median := func(f func(int) float64) float64 {
		values := make([]float64, len(raw))
		for i := range raw {
			values[i] = f(i)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(func(i int) float64 { return raw[i].rate }), "raw-msg/s")
	b.ReportMetric(median(func(i int) float64 { return ours[i].rate }), "msg/s")
	b.ReportMetric(median(func(i int) float64 { return ours[i].rate / raw[i].rate }), "x-rate")
	b.ReportMetric(median(func(i int) float64 { return raw[i].cpu }), "raw-cpu-s/1000")
	b.ReportMetric(median(func(i int) float64 { return ours[i].cpu / raw[i].cpu }), "x-cpu")
}

type drainFunc func(b *testing.B, s server, sub broker.Subscription, out pipeline.Topic, lookup func(string) (pipeline.Topic, bool)) (stop func())

func drain(b *testing.B, s server, kind string, ordering pipeline.Ordering, concurrency int, run drainFunc) drained {
	id := uuid.NewString()[:8]
	in := pipeline.Topic{Name: "bench-in-" + id, Provision: pipeline.ProvisionCreate, Rabbit: pipeline.RabbitTopic{QueueType: kind}}
	out := pipeline.Topic{Name: "bench-out-" + id, Provision: pipeline.ProvisionCreate, Rabbit: pipeline.RabbitTopic{QueueType: kind}}
	lookup := func(name string) (pipeline.Topic, bool) {
		if name == in.Name {
			return in, true
		}
		return out, name == out.Name
	}
	sub := broker.Subscription{
		Name: in.Name + ".h", Handler: "h", Topic: in, Ordering: ordering,
		Concurrency: concurrency, InFlight: 8 * concurrency, Instance: "bench",
	}
	defer s.remove(b, []pipeline.Topic{in, out}, []broker.Subscription{sub})
	preload(b, s, in, out, sub, lookup)
	before, cpu := time.Now(), cpuSeconds()
	stop := run(b, s, sub, out, lookup)
	took, spent := time.Since(before).Seconds(), cpuSeconds()-cpu
	stop()
	ch := s.channel(b)
	waiting, err := ch.QueueDeclarePassive(out.Name, true, false, false, false, nil)
	require.NoError(b, err)
	left, err := ch.QueueDeclarePassive(sub.Name, true, false, false, false, nil)
	require.NoError(b, err)
	require.Equal(b, []int{b.N, 0}, []int{waiting.Messages, left.Messages}, "out and in")
	return drained{rate: float64(b.N) / took, cpu: spent / float64(b.N) * 1000}
}

func preload(b *testing.B, s server, in, out pipeline.Topic, sub broker.Subscription, lookup func(string) (pipeline.Topic, bool)) {
	p := s.open(b, broker.Options{Instance: "preload", Topic: lookup, Log: quiet()})
	defer func() { _ = p.Close() }()
	require.NoError(b, p.Provision(context.Background(), []pipeline.Topic{in, out}, []broker.Subscription{sub}))
	body := bytes.Repeat([]byte("x"), 1000)
	for from := 0; from < b.N; from += 1000 {
		var msgs []*message.Message
		for n := from; n < min(from+1000, b.N); n++ {
			msg := message.NewMessage(uuid.NewString(), fmt.Appendf(nil, `{"orderId":"%d","x":"%s"}`, n%1000, body))
			msg.Metadata.Set(pipeline.MetaPartitionKey, fmt.Sprint(n%1000))
			msgs = append(msgs, msg)
		}
		require.NoError(b, p.Publisher().Publish(in.Name, msgs...))
	}
}

func cpuSeconds() float64 {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return float64(u.Utime.Nano()+u.Stime.Nano()) / 1e9
}

// ourDrain is Waybill's. As in Watermill's router, each message has a
// goroutine.
func ourDrain(b *testing.B, s server, sub broker.Subscription, out pipeline.Topic, lookup func(string) (pipeline.Topic, bool)) func() {
	p := s.open(b, broker.Options{Instance: "bench", Topic: lookup, Log: quiet()})
	subscriber := broker.NewSubscriber(sub, p.Source(sub), quiet())
	messages, err := subscriber.Subscribe(context.Background(), sub.Topic.Name)
	require.NoError(b, err)
	var done atomic.Int64
	all := make(chan struct{})
	var handlers sync.WaitGroup
	handlers.Go(func() {
		for msg := range messages {
			handlers.Go(func() {
				produced := message.NewMessage(msg.UUID, msg.Payload)
				produced.Metadata = msg.Metadata
				if err := p.Publisher().Publish(out.Name, produced); err != nil {
					b.Error(err)
				}
				msg.Ack()
				if done.Add(1) == int64(b.N) {
					close(all)
				}
			})
		}
	})
	<-all
	return func() {
		require.NoError(b, subscriber.Drain(context.Background()))
		handlers.Wait()
		require.NoError(b, p.Close())
	}
}

// rawDrain is raw-p500: prefetch 500, one goroutine publishes in delivery
// order on a confirm channel of a second connection, a second one takes
// confirms in order and acks every 64, or when confirms run dry.
func rawDrain(b *testing.B, s server, sub broker.Subscription, out pipeline.Topic, _ func(string) (pipeline.Topic, bool)) func() {
	in, to := s.channel(b), s.channel(b)
	require.NoError(b, to.Confirm(false))
	require.NoError(b, in.Qos(500, 0, false))
	deliveries, err := in.Consume(sub.Name, "", false, false, false, false, nil)
	require.NoError(b, err)
	type flight struct {
		tag     uint64
		confirm *amqp.DeferredConfirmation
	}
	flights := make(chan flight, 1000)
	go func() {
		defer close(flights)
		for range b.N {
			d := <-deliveries
			confirm, err := to.PublishWithDeferredConfirm(out.Name, out.Name, false, false, amqp.Publishing{
				Headers: d.Headers, DeliveryMode: amqp.Persistent, MessageId: d.MessageId, Body: d.Body,
			})
			if err != nil {
				b.Error(err)
				return
			}
			flights <- flight{d.DeliveryTag, confirm}
		}
	}()
	n := 0
	for f := range flights {
		f.confirm.Wait()
		if n++; n%64 == 0 || len(flights) == 0 {
			_ = in.Ack(f.tag, true)
		}
	}
	return func() { _, _ = in.QueueDeclarePassive(sub.Name, true, false, false, false, nil); _ = in.Close() }
}
