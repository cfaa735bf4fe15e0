package embedbroker

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
)

// maxMessage is the largest payload where the topic does not say, in bytes:
// what RabbitMQ takes by default.
const maxMessage = 16 << 20

// embedBroker is a broker.Broker on a log.
type embedBroker struct {
	opts broker.Options
	log  *log
	once func() error // closes

	closed atomic.Bool // others may have the file open still
}

var (
	_ broker.Broker    = (*embedBroker)(nil)
	_ broker.Committer = (*embedBroker)(nil)
	_ broker.Historian = (*embedBroker)(nil)
)

// Open opens the log at cfg.Path. It fails if another process has the file.
func Open(cfg pipeline.Broker, opts broker.Options) (broker.Broker, error) {
	l, err := openLog(cfg.Path)
	if err != nil {
		return nil, err
	}
	return &embedBroker{opts: opts, log: l, once: sync.OnceValue(l.close)}, nil
}

// Close implements broker.Broker.
func (b *embedBroker) Close() error {
	b.closed.Store(true)
	return b.once()
}

// Source implements broker.Broker.
func (b *embedBroker) Source(sub broker.Subscription) broker.Source {
	return &source{b: b, sub: sub}
}

// Publisher implements broker.Broker.
func (b *embedBroker) Publisher() message.Publisher { return publisher{b} }

// publisher has no more to close than its broker.
type publisher struct{ *embedBroker }

func (publisher) Close() error { return nil }

// Publish implements message.Publisher: all that are accepted share one
// transaction, and the earliest deadline among them.
func (b publisher) Publish(topic string, msgs ...*message.Message) error {
	errs := make([]error, len(msgs))
	fit := make([]*message.Message, 0, len(msgs))
	for i, msg := range msgs {
		if errs[i] = b.refuse(topic, msg); errs[i] == nil {
			fit = append(fit, msg)
		}
	}
	if len(fit) == 0 {
		return broker.PublishFailed(errs)
	}
	err := b.append(earliest(fit), topic, fit)
	for i := range errs {
		if errs[i] == nil {
			errs[i] = err
		}
	}
	return broker.PublishFailed(errs)
}

// earliest returns the context of the messages that ends first, as far as is
// known before.
func earliest(msgs []*message.Message) context.Context {
	ctx := msgs[0].Context()
	end, bounded := ctx.Deadline()
	for _, msg := range msgs[1:] {
		if at, ok := msg.Context().Deadline(); ok && (!bounded || at.Before(end)) {
			ctx, end, bounded = msg.Context(), at, true
		}
	}
	return ctx
}

// Start implements broker.Broker.
func (b *embedBroker) Start(topic string, msg *message.Message, to pipeline.Confirmer, number int) bool {
	if b.refuse(topic, msg) != nil {
		return false
	}
	t, err := b.log.topic(msg.Context(), topic)
	if err != nil {
		return false
	}
	return b.log.start(func(tx *sqlitefile.Tx) error { return t.append(tx, msg) },
		func(err error) { to.Confirmed(number, writeError(err)) })
}

func (b *embedBroker) append(ctx context.Context, topic string, msgs []*message.Message) error {
	t, err := b.log.topic(ctx, topic)
	if err == nil {
		err = b.log.write(ctx, func(tx *sqlitefile.Tx) error { return t.append(tx, msgs...) })
	}
	return writeError(err)
}

// writeError gives an error of the writer its reason.
func writeError(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return pipeline.WithReason(fmt.Errorf("write to the log: %w", err), pipeline.ReasonTimeout)
	}
	return err
}

// refuse returns why a message cannot be published, or nil.
func (b *embedBroker) refuse(name string, msg *message.Message) error {
	if b.closed.Load() {
		return pipeline.WithReason(sqlitefile.ErrClosed, pipeline.ReasonUnavailable)
	}
	topic, ok := b.opts.Topic(name)
	if !ok {
		return pipeline.WithReason(pipeline.Permanent(fmt.Errorf("topic %q is not in the config: add it under `topics:` there", name)), pipeline.ReasonUnroutable)
	}
	if err := msg.Context().Err(); err != nil {
		return writeError(err)
	}
	limit := maxMessage
	if topic.MaxMessage > 0 {
		limit = topic.MaxMessage
	}
	size := len(msg.Payload)
	for k, v := range msg.Metadata {
		size += len(k) + len(v)
	}
	if size > limit {
		return pipeline.WithReason(pipeline.Permanent(
			fmt.Errorf("message of %d bytes is over the limit of %d of topic %s: raise its max_message, or send less", size, limit, name)), pipeline.ReasonTooLarge)
	}
	return nil
}

// Home implements broker.Committer.
func (b *embedBroker) Home() string { return b.log.file.Path() }

// Commit implements broker.Committer.
func (b *embedBroker) Commit(ctx context.Context, in *message.Message, out []broker.Outgoing, writes ...pipeline.Write) error {
	w, err := b.commit(ctx, in, out, writes)
	if err != nil {
		return err
	}
	return writeError(b.log.write(ctx, w.write))
}

// StartCommit implements broker.Committer.
func (b *embedBroker) StartCommit(ctx context.Context, in *message.Message, out []broker.Outgoing, to pipeline.Confirmer) bool {
	w, err := b.commit(ctx, in, out, nil)
	if err != nil {
		return false
	}
	return b.log.start(w.write, func(err error) {
		err = writeError(err)
		for i := range out {
			to.Confirmed(i, err)
		}
	})
}

// commit is a Commit on its way.
type commit struct {
	claim  *broker.Claim
	pos    int64
	cursor *cursor // nil: a message of our own making
	out    []broker.Outgoing
	topics []*topicLog // by output
	writes []pipeline.Write
}

func (b *embedBroker) commit(ctx context.Context, in *message.Message, out []broker.Outgoing, writes []pipeline.Write) (*commit, error) {
	w := &commit{out: out, writes: writes}
	if w.claim, w.pos = broker.ClaimOf(in); w.claim != nil {
		value, ok := b.log.claims.Load(w.claim)
		if !ok {
			return nil, errEnded
		}
		w.cursor = value.(*cursor) //nolint:forcetypeassert // nothing else is stored
	}
	var err error
	w.topics, err = b.destinations(ctx, out)
	return w, err
}

func (w *commit) write(tx *sqlitefile.Tx) error {
	if w.cursor != nil {
		if marked, err := w.cursor.finish(tx, w.claim, w.pos); err != nil || marked == 0 {
			return err // 0: a repeat of a commit that went through
		}
	}
	for _, write := range w.writes {
		if err := write(tx); err != nil {
			return err
		}
	}
	for i, o := range w.out {
		if err := w.topics[i].append(tx, o.Message); err != nil {
			return err
		}
	}
	return nil
}

// destinations returns the log of each output's topic, or a PublishError if
// one can't be published.
func (b *embedBroker) destinations(ctx context.Context, out []broker.Outgoing) ([]*topicLog, error) {
	topics := make([]*topicLog, len(out))
	for i, o := range out {
		err := b.refuse(o.Topic, o.Message)
		if err == nil {
			topics[i], err = b.log.topic(ctx, o.Topic)
		}
		if err != nil {
			errs := make([]error, len(out))
			errs[i] = writeError(err)
			return nil, broker.PublishFailed(errs)
		}
	}
	return topics, nil
}

// HadMessages implements broker.Historian. The last message of a topic is
// never deleted, so the log knows.
func (b *embedBroker) HadMessages(ctx context.Context, topic pipeline.Topic) (bool, error) {
	t, err := b.log.topic(ctx, topic.Name)
	if err != nil {
		return false, err
	}
	last, _ := t.tip()
	return last > t.first(), nil
}

// trouble is what the last write, or the last read, says of the file.
type trouble struct {
	mu    sync.Mutex
	why   string
	since time.Time
}

func (t *trouble) note(err error) {
	bad := err != nil && pipeline.ReasonOf(err) == pipeline.ReasonUnavailable && !errors.Is(err, sqlitefile.ErrClosed)
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case bad && t.why == "":
		t.why, t.since = err.Error(), time.Now()
	case err == nil && t.why != "":
		t.why, t.since = "", time.Now()
	}
}

func (t *trouble) get() (string, time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.why, t.since
}

// Health implements broker.Admin.
func (b *embedBroker) Health() broker.Health {
	h := broker.Health{Connected: true, Address: b.log.file.Path()}
	h.Blocked, h.Since = b.log.trouble.get()
	if why, since := b.log.reading.get(); why != "" {
		h.Incidents = append(h.Incidents, "messages cannot be read: "+why)
		h.Since = since
	}
	if damage := b.log.file.Damage(); damage != nil {
		h.Blocked = damage.Error() // it stays, whatever the last write or read said
	}
	return h
}
