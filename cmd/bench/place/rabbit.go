package place

import (
	"context"
	"errors"
	"fmt"
	"strings"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// rabbit is a RabbitMQ.
type rabbit struct {
	node *node // nil: somebody else's
	url  string
	pid  int
}

func startRabbit(ctx context.Context, url, dir, script string) (Broker, error) {
	if url != "" {
		uri, err := amqp.ParseURI(url)
		if err != nil {
			return nil, fmt.Errorf("read RabbitMQ's URL: %w", err)
		}
		return &rabbit{url: url, pid: listener(fmt.Sprintf("%s:%d", uri.Host, uri.Port))}, nil
	}
	n, err := startNode(ctx, script, job.RabbitMQ, dir)
	if err != nil {
		return nil, err
	}
	return &rabbit{node: n, url: "amqp://guest:guest@" + n.address() + "/", pid: n.pid}, nil
}

func (r *rabbit) PID() int { return r.pid }

func (r *rabbit) Close() error {
	if r.node == nil {
		return nil
	}
	return r.node.stop()
}

// Open makes queues of the variant's type. Everybody publishes straight to two
// durable ones. Only Waybill with partitions has exchanges before them.
func (r *rabbit) Open(ctx context.Context, l Layout) (Site, error) {
	conn, err := amqp.Dial(r.url)
	if err != nil {
		return nil, fmt.Errorf("connect to RabbitMQ: %w", err)
	}
	ch, err := conn.Channel()
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	id := newID()
	s := &rabbitSite{conn: conn, ch: ch, spec: job.Spec{
		Impl: l.Impl, Broker: job.RabbitMQ, Variant: l.Variant, URL: r.url,
		In: "bench-" + id + "-in", Out: "bench-" + id + "-out", InFlight: l.InFlight, Envelope: l.Envelope,
	}}
	if job.IsWaybill(l.Impl) {
		err = s.install(ctx, l)
	} else {
		err = s.declare()
	}
	if err != nil {
		return nil, errors.Join(err, s.Drop(context.WithoutCancel(ctx)))
	}
	return s, nil
}

type rabbitSite struct {
	conn *amqp.Connection
	ch   *amqp.Channel
	spec job.Spec

	exchange  string   // where orders are published to
	queues    []string // of the input
	others    []string // further queues that were made
	exchanges []string
}

func (s *rabbitSite) Spec() job.Spec { return s.spec }

func (s *rabbitSite) declare() error {
	s.queues = []string{s.spec.In}
	for _, name := range []string{s.spec.In, s.spec.Out} {
		var args amqp.Table // a classic queue has none: the published adapter declares it so, too
		if s.spec.Variant == "quorum" {
			args = amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum}
		}
		if _, err := s.ch.QueueDeclare(name, true, false, false, false, args); err != nil {
			return fmt.Errorf("declare queue: %w", err)
		}
	}
	return nil
}

func (s *rabbitSite) install(ctx context.Context, l Layout) error {
	subscription := s.spec.In + "." + handler
	dead := subscription + ".dlq"
	s.exchanges, s.others = []string{dead}, []string{dead}
	topic := func(name string) string {
		return fmt.Sprintf(`, queue_type: %s, exchange: "", queue: %s`, l.Variant, name)
	}
	if l.Partitions > 1 {
		topic = func(string) string { return fmt.Sprintf(", queue_type: %s, partitions: %d", l.Variant, l.Partitions) }
		for n := range l.Partitions {
			s.queues = append(s.queues, fmt.Sprintf("%s.%d", subscription, n))
		}
		s.exchange = s.spec.In
		s.exchanges = append(s.exchanges, s.spec.In, s.spec.Out, subscription)
	} else {
		s.queues = []string{s.spec.In}
	}
	i, err := install(l, fmt.Sprintf("driver: rabbitmq, url: %q", s.spec.URL), topic, s.spec.In, s.spec.Out)
	if err != nil {
		return err
	}
	s.spec.Config = i.config
	return i.provision(ctx, s.spec.In)
}

// confirmWindow is how many orders are under way while the input is filled.
const confirmWindow = 1000

func (s *rabbitSite) Load(ctx context.Context, orders job.Orders, n int) error {
	ch, err := s.conn.Channel()
	if err != nil {
		return err
	}
	defer ch.Close()
	if err := ch.Confirm(false); err != nil {
		return err
	}
	confirms := ch.NotifyPublish(make(chan amqp.Confirmation, confirmWindow))
	await := func() error {
		if c, ok := <-confirms; !ok || !c.Ack {
			return errors.New("fill the input: RabbitMQ did not confirm an order")
		}
		return nil
	}
	for seq := range n {
		if seq >= confirmWindow {
			if err := await(); err != nil {
				return err
			}
		}
		if err := s.publish(ctx, ch, seq, orders.Key(seq), orders.Order(seq, noDue)); err != nil {
			return fmt.Errorf("fill the input: %w", err)
		}
	}
	for range min(n, confirmWindow) {
		if err := await(); err != nil {
			return err
		}
	}
	return nil
}

func (s *rabbitSite) publish(ctx context.Context, ch *amqp.Channel, seq int, key string, payload []byte) error {
	headers := amqp.Table{job.IDHeader: job.ID(seq)}
	if len(s.queues) > 1 {
		headers["partitionkey"] = key // the exchange before them looks at it
	}
	return ch.PublishWithContext(ctx, s.exchange, s.spec.In, true, false, amqp.Publishing{
		DeliveryMode: amqp.Persistent, Headers: headers, Body: payload,
	})
}

func (s *rabbitSite) Send(ctx context.Context, seq int, key string, payload []byte) error {
	return s.publish(ctx, s.ch, seq, key, payload)
}

// Watch has a connection of its own, so that it does not hold up what is sent.
func (s *rabbitSite) Watch(ctx context.Context, see func([]byte)) error {
	conn, err := amqp.Dial(s.spec.URL)
	if err != nil {
		return fmt.Errorf("connect to RabbitMQ: %w", err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	deliveries, err := ch.Consume(s.spec.Out, "", true, false, false, false, nil)
	if err != nil {
		return fmt.Errorf("read the output: %w", err)
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case d, ok := <-deliveries:
			if !ok {
				return errors.New("read the output: the consumer was cancelled")
			}
			see(d.Body)
		}
	}
}

func (s *rabbitSite) Depth(context.Context) (int, error) { return s.ready(s.spec.Out) }

func (s *rabbitSite) Left(context.Context) (int, error) { return s.ready(s.queues...) }

func (s *rabbitSite) ready(queues ...string) (int, error) {
	n := 0
	for _, name := range queues {
		q, err := s.ch.QueueDeclarePassive(name, true, false, false, false, nil)
		if err != nil {
			return 0, fmt.Errorf("look at queue %s: %w", name, err)
		}
		n += q.Messages
	}
	return n, nil
}

func (s *rabbitSite) Outputs(ctx context.Context, n int, see func([]byte)) error {
	ctx, enough := context.WithTimeoutCause(ctx, readTimeout, errors.New("the outputs could not be read in time"))
	defer enough()
	if n == 0 {
		return nil
	}
	read := 0
	done, end := context.WithCancel(ctx)
	defer end()
	err := s.Watch(done, func(payload []byte) {
		if read++; read <= n {
			see(payload)
		}
		if read == n {
			end()
		}
	})
	if err != nil || read >= n {
		return err
	}
	return fmt.Errorf("read the outputs: %d of %d: %w", read, n, context.Cause(ctx))
}

// Drop works on a connection of its own, as a failure may have cost us ours.
func (s *rabbitSite) Drop(context.Context) error {
	_ = s.conn.Close()
	conn, err := amqp.Dial(s.spec.URL)
	if err != nil {
		return fmt.Errorf("remove queues bench-*: %w", err)
	}
	defer conn.Close()
	ch, err := conn.Channel()
	if err != nil {
		return err
	}
	var errs []error
	for _, name := range append(append([]string{s.spec.Out}, s.queues...), s.others...) {
		_, err := ch.QueueDelete(name, false, false, false)
		errs = append(errs, err)
	}
	for _, name := range s.exchanges {
		errs = append(errs, ch.ExchangeDelete(name, false, false))
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("remove %s: %w", strings.Join(s.queues, ", "), err)
	}
	return nil
}
