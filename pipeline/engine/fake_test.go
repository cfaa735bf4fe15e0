package engine

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fake is a broker whose faults a test sets: real brokers cannot be told when
// to refuse what.
type fake struct {
	mu        sync.Mutex
	refuse    func(topic string) error // what Publish answers; nil: it takes the message
	provision func() error
	down      bool
	in        chan *message.Message // what its source delivers
	acked     chan string           // ids that are done
	gone      chan struct{}         // closed: its source gives up; may be nil
	published map[string][]*message.Message
}

func newFake() *fake {
	return &fake{in: make(chan *message.Message, 100), acked: make(chan string, 100), published: make(map[string][]*message.Message)}
}

func (f *fake) set(refuse func(string) error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refuse = refuse
}

func (f *fake) Publisher() message.Publisher { return f }

func (f *fake) Publish(topic string, msgs ...*message.Message) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.refuse != nil {
		if err := f.refuse(topic); err != nil {
			return err
		}
	}
	f.published[topic] = append(f.published[topic], msgs...)
	return nil
}

// Start tells at once, from another goroutine. What Publish would refuse it does
// not begin.
func (f *fake) Start(topic string, msg *message.Message, to pipeline.Confirmer, number int) bool {
	if f.Publish(topic, msg) != nil {
		return false
	}
	go to.Confirmed(number, nil)
	return true
}

func (f *fake) on(topic string) []*message.Message {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.published[topic]
}

func (f *fake) Close() error { return nil }

func (f *fake) Source(broker.Subscription) broker.Source { return fakeSource{f} }

func (f *fake) Provision(context.Context, []pipeline.Topic, []broker.Subscription) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.provision != nil {
		return f.provision()
	}
	return nil
}

func (f *fake) Inspect(context.Context, []pipeline.Topic, []broker.Subscription) ([]broker.Status, error) {
	return []broker.Status{{Name: "in.work", Topic: "in", Ready: 7}}, nil
}

func (f *fake) Tail(context.Context, pipeline.Topic, broker.TailOptions, func(*message.Message) error) error {
	return errors.New("not for this test")
}

func (f *fake) Health() broker.Health {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return broker.Health{Address: "127.0.0.1:1", User: "guest", Err: errors.New("connection refused")}
	}
	return broker.Health{Connected: true, Address: "127.0.0.1:1"}
}

// fakeSource delivers what the test sends, in one claim.
type fakeSource struct{ f *fake }

func (s fakeSource) Run(ctx context.Context, w *broker.Window) error {
	claim := w.Claim(broker.ClaimOptions{})
	ids := map[int64]string{}
	intake, stop := context.WithCancel(ctx)
	defer stop()
	var reading sync.WaitGroup
	var mu sync.Mutex
	reading.Go(func() {
		for pos := int64(0); ; pos++ {
			select {
			case msg := <-s.f.in:
				mu.Lock()
				ids[pos] = msg.UUID
				mu.Unlock()
				if claim.Deliver(intake, broker.Delivery{Message: msg, Key: msg.Metadata.Get(pipeline.MetaPartitionKey), Position: pos, Origin: pipeline.Origin{Topic: "in", Offset: pos}}) != nil {
					return
				}
			case <-intake.Done():
				return
			}
		}
	})
	told := func() {
		p := claim.Take(broker.Progress{})
		mu.Lock()
		defer mu.Unlock()
		for _, pos := range append(p.Prefix, p.Above...) {
			s.f.acked <- ids[pos]
		}
	}
	for intake.Err() == nil {
		select {
		case <-claim.Changed():
			told()
		case <-w.Draining():
			stop()
		case <-s.f.gone:
			stop()
			reading.Wait()
			return errors.New("gone for good")
		}
	}
	reading.Wait()
	_ = claim.Close(ctx)
	told()
	return nil
}

// rig is an engine with one handler, from topic "in" to topic "out", on a
// fake broker.
type rig struct {
	*Engine
	fake    *fake
	metrics *prometheus.Registry
	errors  bytes.Buffer // of the log; to be read after a stop
}

func newRig(t *testing.T, kind message.HandlerFunc, change func(*pipeline.Handler)) *rig {
	t.Helper()
	return newRigWith(t, nil, kind, change)
}

// newRigWith is newRig with a store.
func newRigWith(t *testing.T, s store.Store, kind message.HandlerFunc, change func(*pipeline.Handler)) *rig {
	t.Helper()
	h := pipeline.Handler{
		Name: "work", Kind: "test", From: "in", To: map[string]string{"": "out"}, DeadLetter: "in.work.dlq",
		Concurrency: 2, InFlight: 4, Ordering: pipeline.OrderingNone,
		Retry: pipeline.Retry{Initial: time.Millisecond},
	}
	if change != nil {
		change(&h)
	}
	r := &rig{fake: newFake(), metrics: prometheus.NewRegistry()}
	topics := map[string]pipeline.Topic{}
	for _, name := range []string{"in", "out", "in.work.dlq"} {
		topics[name] = pipeline.Topic{Name: name, Broker: "main"}
	}
	e, err := New(Options{
		Pipeline: pipeline.Pipeline{
			ShutdownTimeout: 10 * time.Second, Brokers: map[string]pipeline.Broker{"main": {Name: "main"}},
			Topics: topics, Handlers: []pipeline.Handler{h},
		},
		Kinds: pipeline.NewKinds(pipeline.Kind{
			Name: "test", NewConfig: func() any { return nil },
			New: func(pipeline.Env, any) (message.HandlerFunc, error) { return kind, nil },
		}),
		Brokers: map[string]broker.Broker{"main": r.fake},
		Store:   s,
		Log:     slog.New(slog.NewTextHandler(&r.errors, &slog.HandlerOptions{Level: slog.LevelError})),
		Metrics: r.metrics,
	})
	require.NoError(t, err)
	r.Engine = e
	return r
}

func (r *rig) start(t *testing.T) {
	t.Helper()
	r.Start()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_ = r.Stop(ctx) // a second stop has nothing to do
	})
	require.Eventually(t, func() bool { return r.State().Handlers[0].Running }, 10*time.Second, time.Millisecond)
}

func (r *rig) send(id string) { r.fake.in <- message.NewMessage(id, []byte(`{}`)) }

// pass returns its input.
func pass(msg *message.Message) ([]*message.Message, error) { return []*message.Message{msg}, nil }
