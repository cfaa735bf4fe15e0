package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"strconv"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const (
	// publishTurn is how long letters are published before their turns are noted:
	// a pause or a cancel waits so long, and a crash repeats so much.
	publishTurn = 500 * time.Millisecond
	// publishTimeout is well within the lease, for one message and for what is
	// noted: who lost the lease should do neither.
	publishTimeout = leaseTime / 2
)

// sending is a letter on its way.
type sending struct {
	store.Candidate
	content store.Content // what is sent
	edited  bool          // by the transform
	topic   string        // where it is published; "": it goes back to its handler
	stays   bool          // it was published, and its letter is left as it is
}

// send sends the next letters, up to n, and returns how many had their turn.
func (r *run) send(ctx context.Context, n int) (int, error) {
	next, err := r.opts.Store.NextItems(ctx, r.lease, n)
	if err != nil {
		return 0, err
	}
	letters := make([]sending, len(next))
	for i, c := range next {
		letters[i] = r.decide(c)
	}
	letters, refused := r.publish(ctx, oneWay(letters))
	// What is published is noted, though this instance stops.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	sent, err := r.commit(ctx, letters)
	switch {
	case errors.Is(err, store.ErrStaleToken):
		return sent, nil // the replay has changed since it was looked at: look again
	case err != nil:
		return sent, err
	}
	return sent, refused
}

// commit has the store note the letters' turns, and returns how many it did. A
// letter that the store refuses is skipped; which one that is, halves find.
func (r *run) commit(ctx context.Context, letters []sending) (int, error) {
	err := r.opts.Store.Do(ctx, r.writes(letters)...)
	switch {
	case err == nil:
		r.noted(letters)
		return len(letters), nil
	case ctx.Err() != nil, errors.Is(err, store.ErrUnavailable), errors.Is(err, store.ErrStaleToken):
		return 0, err // no letter is to blame
	case len(letters) == 1 && letters[0].passed():
		return 0, err
	case len(letters) == 1:
		letters[0].refused(err)
		return r.commit(ctx, letters)
	}
	half := len(letters) / 2
	n, err := r.commit(ctx, letters[:half])
	if err != nil {
		return n, err
	}
	more, err := r.commit(ctx, letters[half:])
	return n + more, err
}

// passed reports whether nothing is asked of the letter.
func (s *sending) passed() bool { return s.State == store.ItemSkipped || s.stays }

// refused says what becomes of a letter that the store refuses.
func (s *sending) refused(err error) {
	if s.State == store.ItemCompleted {
		s.stays, s.Why = true, "it was published, but its letter has changed meanwhile: it stays as it is: "+err.Error()
		return
	}
	s.State, s.Why = store.ItemSkipped, err.Error()
}

// noted tells what the store has noted.
func (r *run) noted(letters []sending) {
	r.told(letters)
	r.lease.Pending -= int64(len(letters))
	r.lease.Problem = ""
	for _, l := range letters {
		if l.State == store.ItemSent {
			r.lease.Sent++
		}
	}
}

// decide looks whether a letter is to be sent, and as what.
func (r *run) decide(c store.Candidate) sending {
	s := sending{Candidate: c}
	if s.Why = r.reason(c); s.Why == "" {
		s.Why = r.compose(&s)
	}
	switch {
	case s.Why != "":
		s.State = store.ItemSkipped
		return s
	case s.topic != "":
		s.State = store.ItemCompleted
	default:
		s.State = store.ItemSent
	}
	s.Deaths = c.Now.Deaths
	return s
}

// reason is why a letter is skipped, or "".
func (r *run) reason(c store.Candidate) string {
	switch l := c.Now; {
	case l == nil:
		return "it is gone"
	case l.State != store.Dead:
		return fmt.Sprintf("it is not dead any more: %s", l.State)
	case l.Version != c.Seen:
		return "it has changed since it was selected"
	case l.Parked && !r.named:
		return "it is parked: name it by its id to replay it all the same"
	}
	return ""
}

// compose fills in what is sent and where, or returns why that cannot be done.
func (r *run) compose(s *sending) (why string) {
	l := s.Now
	s.content = l.Content
	if r.edit != nil {
		edited, err := r.edit(l.Content)
		if err != nil {
			return "transform: " + err.Error()
		}
		s.edited = !maps.Equal(edited.Headers, l.Headers) || !bytes.Equal(edited.Payload, l.Payload)
		s.content = edited
	}
	if s.topic = r.lease.Options.Redirect; s.topic == "" {
		if _, ours := r.opts.Handler(l.Handler); !ours {
			s.topic = l.Topic
		}
	}
	if s.topic == "" {
		return ""
	}
	if _, ok := r.opts.Topic(s.topic); !ok {
		return fmt.Sprintf("handler %q is not in the pipeline, nor topic %q where the message was read: redirect it to a topic that is", l.Handler, s.topic)
	}
	return ""
}

// headers are those of the message that is sent: the letter's, and what says
// where it comes from.
func (r *run) headers(s sending) map[string]string {
	headers := make(map[string]string, len(s.content.Headers)+4)
	maps.Copy(headers, s.content.Headers)
	headers[pipeline.MetaReplayID] = strconv.FormatInt(r.lease.ID, 10)
	if s.topic == "" { // who reads it from a topic has limits of its own
		headers[pipeline.MetaReplayLetter] = strconv.FormatInt(s.Now.ID, 10)
		headers[pipeline.MetaDeadReplays] = strconv.Itoa(s.Now.Replays + 1)
	}
	if s.edited || s.Now.Edited {
		headers[pipeline.MetaEditOf] = s.Now.Message
	}
	return headers
}

// oneWay returns the first letters, up to one that goes another way: what is
// published has to be noted though the replay is paused meanwhile, and what goes
// back to its handler must not.
func oneWay(letters []sending) []sending {
	way := store.ItemSkipped
	for i, l := range letters {
		switch {
		case l.State == store.ItemSkipped, l.State == way:
		case way == store.ItemSkipped:
			way = l.State
		default:
			return letters[:i]
		}
	}
	return letters
}

// publish publishes what goes to a topic, one after another: so none overtakes
// one of its key that failed, and none is published that is not noted then. A
// message that is refused for good is skipped; one that cannot be published now
// ends the batch before it, and the error says why.
func (r *run) publish(ctx context.Context, letters []sending) ([]sending, error) {
	begun := time.Now()
	for i := range letters {
		l := &letters[i]
		if l.State != store.ItemCompleted {
			continue
		}
		if i > 0 && (ctx.Err() != nil || time.Since(begun) > publishTurn) {
			return letters[:i], nil
		}
		err := r.publishOne(ctx, *l)
		switch {
		case err == nil:
		case pipeline.IsPermanent(err):
			l.State, l.Why = store.ItemSkipped, "publish: "+err.Error()
		default:
			return letters[:i], fmt.Errorf("publish to %s: %w", l.topic, err)
		}
	}
	return letters, nil
}

// publishOne is not cut short by a stop: nobody would know whether the message
// is there.
func (r *run) publishOne(ctx context.Context, l sending) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), publishTimeout)
	defer cancel()
	msg := message.NewMessageWithContext(ctx, l.Now.Message, l.content.Payload)
	msg.Metadata = r.headers(l)
	return r.opts.Publish(ctx, l.topic, []*message.Message{msg})[0]
}

// writes are what the store does about the letters. Keys come before letters,
// as in every outcome, so that two transactions rarely wait for each other.
func (r *run) writes(letters []sending) []pipeline.Write {
	s := r.opts.Store
	items := make([]store.ReplayItem, len(letters))
	for i, l := range letters {
		items[i] = l.ReplayItem
	}
	writes := []pipeline.Write{s.AdvanceReplay(r.lease, items)}
	for _, l := range letters {
		if l.State == store.ItemSent {
			writes = append(writes, s.Requeue(r.message(l)))
		}
	}
	for _, l := range letters {
		if l.passed() {
			continue
		}
		version := l.Now.Version
		if l.edited {
			writes = append(writes, s.ReviseLetter(l.Letter, version, l.content))
			version++
		}
		writes = append(writes, s.MoveLetter(store.Move{ID: l.Letter, To: store.Replaying, Version: version}))
		if l.State == store.ItemCompleted {
			writes = append(writes, s.MoveLetter(store.Move{ID: l.Letter, To: store.Completed, Version: version + 1}), s.Unpark(l.Now.Handler, l.Now.Message))
		}
	}
	return writes
}

// message is what the handler gets.
func (r *run) message(s sending) store.DelayedMessage {
	l := s.Now
	return store.DelayedMessage{
		Handler: l.Handler, Message: l.Message, Topic: l.Topic, Partition: l.Partition, Offset: l.Offset, Key: r.lane(l),
		// The letter may have died of a later message while an earlier replay of
		// it still waits: this one is not merged with that.
		Copy:     fmt.Sprintf("replay/%d/%d", r.lease.ID, l.ID),
		Overtake: r.lease.Options.Overtake, Replays: l.Replays + 1, Letter: l.ID,
		Content: store.Content{Headers: r.headers(s), Payload: s.content.Payload},
	}
}

// lane is what orders the letter's message in its handler.
func (r *run) lane(l *store.DeadLetter) string {
	switch h, _ := r.opts.Handler(l.Handler); h.Ordering {
	case pipeline.OrderingNone:
		return ""
	case pipeline.OrderingPartition:
		return broker.PartitionLane(l.Partition)
	}
	return l.Key
}

// told tells which keys are held now.
func (r *run) told(letters []sending) {
	if r.opts.Requeued == nil {
		return
	}
	keys := make(map[string][]string)
	for _, l := range letters {
		if l.State == store.ItemSent {
			keys[l.Now.Handler] = append(keys[l.Now.Handler], r.lane(l.Now))
		}
	}
	for handler, keys := range keys {
		r.opts.Requeued(handler, keys)
	}
}
