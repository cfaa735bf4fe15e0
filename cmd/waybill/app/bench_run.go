package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/cmd/waybill/scratch"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// bench is an App on a scratch topic.
type bench struct {
	app     *App
	broker  pipeline.Broker
	in, out pipeline.Topic
	handler pipeline.Handler
	runs    *benchKind
	begun   bool
}

// passOn is the kind of a bench that has no handler's.
const passOn = "pass_on"

// newBench puts an App together that has one handler on topics of its own,
// with the settings of a handler or of a topic of p. Nothing is made on the
// broker yet.
func newBench(p pipeline.Pipeline, opts Options, handler, topic string) (*bench, error) {
	b := &bench{runs: &benchKind{}}
	if err := b.choose(p, opts.Kinds, handler, topic); err != nil {
		return nil, err
	}
	if err := makeData(p); err != nil {
		return nil, exit(exitFailure, err)
	}
	dir, err := os.MkdirTemp(p.Data, "bench-")
	if err != nil {
		return nil, exit(exitFailure, fmt.Errorf("make a folder for the bench: %w", err))
	}
	if b.broker.Driver == pipeline.DriverEmbedded { // on the same disk, beside the file in use
		b.broker.Path = filepath.Join(dir, "bench.db")
	}
	p.Store = pipeline.Store{File: filepath.Join(dir, "bench.db")}
	p.Data, p.Instance, p.HTTP.Listen = dir, "", "off"
	p.Brokers = map[string]pipeline.Broker{b.broker.Name: b.broker}
	dead := pipeline.Topic{Name: b.handler.DeadLetter, Broker: b.broker.Name, DeadLetter: true, Provision: pipeline.ProvisionCreate}
	p.Topics = map[string]pipeline.Topic{b.in.Name: b.in, b.out.Name: b.out, dead.Name: dead}
	p.Handlers = []pipeline.Handler{b.handler}
	opts.Kinds = pipeline.NewKinds(b.runs.Kind)
	if b.app, err = New(p, opts); err != nil {
		return nil, exit(exitFailure, errors.Join(err, os.RemoveAll(dir)))
	}
	return b, nil
}

// choose takes settings from the config and names from nowhere else.
func (b *bench) choose(p pipeline.Pipeline, kinds pipeline.Kinds, handler, topic string) error {
	kind := passOnKind()
	b.handler = pipeline.Handler{Kind: passOn, Concurrency: 64, InFlight: 512, Ordering: pipeline.OrderingKey, Timeout: 30 * time.Second}
	if handler != "" {
		at := slices.IndexFunc(p.Handlers, func(h pipeline.Handler) bool { return h.Name == handler })
		if at < 0 {
			return exit(exitNotFound, fmt.Errorf("handler %q is not in the config: `waybill echo` lists the handlers", handler))
		}
		b.handler = p.Handlers[at]
		topic = b.handler.From
		if own, ok := kinds.Get(b.handler.Kind); ok && !own.Effect {
			kind = own
		} else {
			b.handler.Kind, b.handler.Config = passOn, kind.NewConfig()
		}
	}
	source, ok := p.Topics[topic]
	if !ok {
		return exit(exitNotFound, fmt.Errorf("topic %q is not in the config: `waybill echo` lists the topics", topic))
	}
	name := "waybill-bench-" + newID()[24:]
	b.broker = p.Brokers[source.Broker]
	b.in, b.out = scratchTopic(source, name+"-in"), scratchTopic(source, name+"-out")
	b.handler.Name, b.handler.From, b.handler.Start = "bench", b.in.Name, pipeline.Start{}
	b.handler.DeadLetter = b.in.Name + ".bench.dlq"
	b.handler.To = scratchOutputs(b.handler.To, b.out.Name)
	b.runs.wrap(kind)
	return nil
}

// scratchTopic has the settings of another topic, and no place of that one's.
func scratchTopic(t pipeline.Topic, name string) pipeline.Topic {
	t.Name, t.Provision, t.DeadLetter = name, pipeline.ProvisionCreate, false
	t.Rabbit = pipeline.RabbitTopic{QueueType: t.Rabbit.QueueType, Arguments: t.Rabbit.Arguments}
	return t
}

// scratchOutputs leads all outputs to one topic.
func scratchOutputs(to map[string]string, out string) map[string]string {
	if len(to) == 0 {
		return map[string]string{"": out}
	}
	outputs := make(map[string]string, len(to))
	for name := range to {
		outputs[name] = out
	}
	return outputs
}

// archive is what the archiver reads of the scratch pipeline.
func (b *bench) archive() broker.Subscription {
	return broker.ArchiveOf(b.app.pipeline, b.app.pipeline.Topics[b.handler.DeadLetter])
}

// removeTimeout is how long removing what was made may take.
const removeTimeout = 30 * time.Second

// close stops the App and removes all that was made.
func (b *bench) close(ctx context.Context) error {
	ctx, enough := context.WithTimeout(ctx, removeTimeout)
	defer enough()
	err := b.app.Stop(ctx)
	if b.begun {
		sub := b.handler.Subscription(b.broker.GroupPrefix)
		err = errors.Join(err, scratch.Remove(ctx, b.broker, scratch.Names{
			Topics:        []string{b.in.Name, b.out.Name, b.handler.DeadLetter},
			Subscriptions: []string{sub, b.archive().Name}, Partitions: b.in.Partitions,
		}))
	}
	return errors.Join(err, os.RemoveAll(b.app.pipeline.Data))
}

// measure fills the scratch topic, drains it, and sends at a fixed rate.
func (b *bench) measure(ctx context.Context, c *benchCommand, messages benchMessages) (benchResult, error) {
	r := benchResult{
		Broker: b.broker.Name, Driver: b.broker.Driver, Handler: c.handler, Kind: b.handler.Kind,
		Ordering: string(b.handler.Ordering), Concurrency: b.handler.Concurrency, InFlight: b.handler.InFlight,
		Messages: c.n, Bytes: len(messages.bytes(0)),
	}
	begin, err := b.fill(ctx, messages, c.n)
	if err != nil {
		return r, err
	}
	r.PublishRate = float64(c.n) / time.Since(begin).Seconds()
	b.app.Start()
	if err := b.drain(ctx, c.n, &r); err != nil || c.rate == 0 {
		return r, err
	}
	watch, err := b.latency(ctx, messages, c.rate, c.seconds)
	if err != nil {
		return r, err
	}
	r.LatencyRate, r.P50, r.P99 = c.rate, watch.quantile(0.5), watch.quantile(0.99)
	return r, nil
}

// fill returns when it began to publish: provisioning is not counted.
func (b *bench) fill(ctx context.Context, messages benchMessages, n int) (begin time.Time, err error) {
	provisioning, enough := context.WithTimeout(ctx, reachTimeout)
	defer enough()
	topics, subs := broker.Holdings(b.app.pipeline, b.broker.Name)
	b.begun = true
	own := b.app.brokers[b.broker.Name]
	if err := own.Provision(provisioning, topics, subs); err != nil {
		return begin, fmt.Errorf("make a scratch topic on broker %s: %w", b.broker.Name, err)
	}
	begin = time.Now()
	for at := 0; at < n; at += publishBatch {
		batch := make([]*message.Message, 0, publishBatch)
		for i := at; i < min(n, at+publishBatch); i++ {
			batch = append(batch, messages.message(ctx, i))
		}
		if err := own.Publisher().Publish(b.in.Name, batch...); err != nil {
			return begin, fmt.Errorf("fill the scratch topic: %w", err)
		}
	}
	return begin, nil
}

// drain measures from the first hundredth to the end.
func (b *bench) drain(ctx context.Context, n int, r *benchResult) error {
	if err := b.await(ctx, n, func() bool { return b.runs.done() >= int64(n/100) }); err != nil {
		return err
	}
	from, began, cpu := b.runs.done(), time.Now(), cpuTime()
	if err := b.await(ctx, n, func() bool { return b.runs.done() >= int64(n) && b.app.inFlight() == 0 }); err != nil {
		return err
	}
	messages := float64(int64(n) - from)
	r.Rate = messages / time.Since(began).Seconds()
	r.CPU = float64((cpuTime() - cpu).Microseconds()) / messages
	return nil
}

func (b *bench) await(ctx context.Context, n int, ok func() bool) error {
	looks := time.NewTicker(2 * time.Millisecond)
	defer looks.Stop()
	last, since := int64(-1), time.Now()
	for !ok() {
		select {
		case <-ctx.Done():
			return errors.New("interrupted")
		case err := <-b.app.Failed():
			return err
		case <-looks.C:
		}
		if err := b.runs.failed(); err != nil {
			return fmt.Errorf("the handler does not take the message: %w: give one that it takes with --payload", err)
		}
		done := b.runs.done()
		if done != last {
			last, since = done, time.Now()
		}
		if time.Since(since) > benchPatience {
			return fmt.Errorf("nothing moves at %d of %d messages: %v", done, n, b.app.engine.State().Problems())
		}
	}
	return nil
}

// benchKind counts the runs of another kind.
type benchKind struct {
	pipeline.Kind
	ended atomic.Int64
	fault atomic.Pointer[error] // the first
}

func (k *benchKind) wrap(kind pipeline.Kind) {
	k.Kind = kind
	k.New = func(env pipeline.Env, config any) (message.HandlerFunc, error) {
		h, err := kind.New(env, config)
		if err != nil {
			return nil, err
		}
		return func(msg *message.Message) ([]*message.Message, error) {
			out, err := h(msg)
			if err != nil {
				k.fault.CompareAndSwap(nil, &err)
			}
			k.ended.Add(1)
			return out, err
		}, nil
	}
}

func (k *benchKind) done() int64 { return k.ended.Load() }

func (k *benchKind) failed() error {
	if err := k.fault.Load(); err != nil {
		return *err
	}
	return nil
}

// passOnKind sends a message on as it is.
func passOnKind() pipeline.Kind {
	return pipeline.Kind{
		Name:      passOn,
		NewConfig: func() any { return &struct{}{} },
		New: func(env pipeline.Env, _ any) (message.HandlerFunc, error) {
			return func(msg *message.Message) ([]*message.Message, error) { return []*message.Message{msg}, nil }, nil
		},
	}
}
