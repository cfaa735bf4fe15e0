package embedbroker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// Provision implements broker.Admin. A topic of a log has no settings that
// could differ from those of the config, so verify asks for what is there.
func (b *embedBroker) Provision(ctx context.Context, topics []pipeline.Topic, subs []broker.Subscription) error {
	for _, t := range topics {
		if t.Provision == pipeline.ProvisionVerify && !b.log.has(t.Name) {
			return b.missing("topic", t.Name)
		}
		if _, err := b.log.topic(ctx, t.Name); err != nil {
			return writeError(err)
		}
	}
	for _, sub := range subs {
		if sub.Leftover || sub.Topic.Provision == pipeline.ProvisionVerify {
			if _, err := b.log.cursor(ctx, sub.Name); errors.Is(err, sql.ErrNoRows) {
				return b.missing("subscription", sub.Name)
			}
		}
		if err := b.log.makeCursor(ctx, sub); err != nil {
			return writeError(fmt.Errorf("make subscription %s: %w", sub.Name, err))
		}
	}
	b.log.keeper.watch(topics, subs)
	return nil
}

func (b *embedBroker) missing(what, name string) error {
	return pipeline.Permanent(fmt.Errorf("verify %s %s: %w, in %s: set provision: create", what, name, broker.ErrMissing, b.log.file.Path()))
}

func (l *log) has(topic string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.topics[topic] != nil
}

// Inspect implements broker.Admin.
func (b *embedBroker) Inspect(ctx context.Context, topics []pipeline.Topic, subs []broker.Subscription) ([]broker.Status, error) {
	var all []broker.Status
	read := make(map[string]bool)
	for _, sub := range subs {
		read[sub.Topic.Name] = true
		s, err := b.inspect(ctx, sub)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", sub.Name, err)
		}
		all = append(all, s)
	}
	for _, topic := range topics {
		if read[topic.Name] {
			continue
		}
		t, err := b.log.topic(ctx, topic.Name)
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", topic.Name, err)
		}
		n, err := b.log.count(ctx, t, t.first())
		if err != nil {
			return nil, fmt.Errorf("inspect %s: %w", topic.Name, err)
		}
		all = append(all, broker.Status{Name: topic.Name, Topic: topic.Name, Ready: n})
	}
	return all, nil
}

func (b *embedBroker) inspect(ctx context.Context, sub broker.Subscription) (broker.Status, error) {
	s := broker.Status{Name: sub.Name, Topic: sub.Topic.Name, Bindings: []string{sub.Topic.Name}}
	c, err := b.log.cursor(ctx, sub.Name)
	if errors.Is(err, sql.ErrNoRows) {
		s.Ready, s.InFlight = -1, -1
		s.Problems = append(s.Problems, "the subscription does not exist yet: `waybill run` makes it")
		return s, nil
	}
	if err != nil {
		return s, err
	}
	upto, done, inHand, reading := c.state()
	left, err := b.log.count(ctx, c.topic, upto)
	if err != nil {
		return s, err
	}
	if reading {
		s.Consumers = 1
	}
	s.InFlight = int64(inHand)
	s.Ready = max(0, left-int64(done)-s.InFlight)
	return s, nil
}

// Tail implements broker.Admin: it reads the log, which disturbs nobody.
func (b *embedBroker) Tail(ctx context.Context, topic pipeline.Topic, opts broker.TailOptions, f func(*message.Message) error) error {
	t, err := b.log.topic(ctx, topic.Name)
	if err != nil {
		return err
	}
	at, _ := t.tip()
	if opts.Oldest {
		at = t.first()
	}
	if opts.Ready != nil {
		opts.Ready()
	}
	for {
		last, grew := t.tip()
		for at < last {
			batch, err := b.log.read(ctx, t, at)
			if err != nil {
				return fmt.Errorf("read %s: %w", topic.Name, err)
			}
			if len(batch) == 0 {
				break
			}
			for _, m := range batch {
				if err := f(m.msg); err != nil {
					return err
				}
				at = m.pos
			}
		}
		if opts.Oldest && !opts.Follow {
			return nil
		}
		if !t.await(grew, ctx.Done()) {
			return ctx.Err()
		}
	}
}
