package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/cenkalti/backoff/v5"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const (
	storeTimeout = 10 * time.Second // of one try
	firstPause   = 100 * time.Millisecond
	longestPause = 30 * time.Second
)

// reader archives one topic.
type reader struct {
	archiver   *Archiver
	sub        broker.Subscription
	clerk      clerk
	committer  broker.Committer // nil: the store commits first
	subscriber *broker.Subscriber
	log        *slog.Logger

	mu  sync.Mutex
	why string // why it can't archive; "": it can
}

func newReader(a *Archiver, topic pipeline.Topic) *reader {
	b := a.opts.Brokers[topic.Broker]
	sub := broker.ArchiveOf(a.opts.Pipeline, topic)
	r := &reader{archiver: a, sub: sub, clerk: newClerk(a.opts.Pipeline, topic.Name), log: a.opts.Log.With("topic", topic.Name)}
	r.subscriber = broker.NewSubscriber(sub, b.Source(sub), r.log)
	if c, can := b.(broker.Committer); can && c.Home() == a.opts.Store.Home() {
		r.committer = c
	}
	return r
}

// run archives until the subscription has drained.
func (r *reader) run() {
	a := r.archiver
	if a.opts.AwaitBroker(a.life, r.sub.Topic.Broker) != nil {
		return // stopped before it began
	}
	bundles, err := r.subscriber.Bundles().Subscribe(context.Background(), r.sub.Topic.Name)
	if err != nil {
		return // stopped meanwhile
	}
	for bundle := range bundles {
		r.archive(gather(bundles, bundle))
	}
	select {
	case err := <-r.subscriber.Ended():
		r.hold(fmt.Errorf("its subscription has ended: %w: restart waybill", err))
	default:
	}
}

// gather returns what is in bundle and in those that are there behind it. While
// one batch is written the next comes together.
func gather(bundles <-chan *message.Message, bundle *message.Message) []*message.Message {
	batch := broker.MessagesOf(bundle)
	for {
		select {
		case bundle, ok := <-bundles:
			if !ok {
				return batch
			}
			batch = append(batch, broker.MessagesOf(bundle)...)
		default:
			return batch
		}
	}
}

// archive has the store take the batch, for as long as that takes.
func (r *reader) archive(batch []*message.Message) {
	letters := make([]store.DeadLetter, len(batch))
	for i, msg := range batch {
		letters[i] = r.clerk.letter(msg)
	}
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval = firstPause, longestPause*2/3 // the jitter adds up to half
	for held := false; ; held = true {
		batch, letters = present(batch, letters) // what is not comes again
		var err error
		if len(batch) > 0 {
			err = r.bury(batch, letters)
		}
		if err == nil {
			if held {
				r.release()
			}
			return
		}
		r.hold(err)
		if !held {
			r.subscriber.Pause()
		}
		if !r.wait(pauses.NextBackOff()) {
			giveBack(batch)
			return
		}
	}
}

// present leaves out what the broker has taken back, or what is settled.
func present(batch []*message.Message, letters []store.DeadLetter) (here []*message.Message, of []store.DeadLetter) {
	for i, msg := range batch {
		if msg.Context().Err() == nil {
			here, of = append(here, msg), append(of, letters[i])
		}
	}
	return here, of
}

// bury makes letters of the batch and acknowledges what the store has.
func (r *reader) bury(batch []*message.Message, letters []store.DeadLetter) error {
	ctx, cancel := context.WithTimeout(r.archiver.tries, storeTimeout)
	defer cancel()
	if r.committer != nil {
		return r.commit(ctx, batch, letters)
	}
	writes := make([]pipeline.Write, len(letters))
	for i, l := range letters {
		writes[i] = r.archiver.opts.Store.Bury(l)
	}
	if err := r.archiver.opts.Store.Do(ctx, writes...); err != nil {
		return err
	}
	for _, msg := range batch {
		r.done(msg)
	}
	return nil
}

// commit buries and acknowledges each letter in one transaction. They share
// the file's next fsync.
func (r *reader) commit(ctx context.Context, batch []*message.Message, letters []store.DeadLetter) error {
	errs := make([]error, len(batch))
	var commits sync.WaitGroup
	for i, msg := range batch {
		commits.Go(func() {
			if errs[i] = r.committer.Commit(ctx, msg, nil, r.archiver.opts.Store.Bury(letters[i])); errs[i] == nil {
				r.done(msg)
			}
		})
	}
	commits.Wait()
	return errors.Join(errs...)
}

func (r *reader) done(msg *message.Message) {
	r.archiver.metrics.archived.WithLabelValues(r.sub.Topic.Name).Inc()
	broker.Settle(msg, true)
}

// giveBack leaves letters to their broker. The window is draining: it hands out
// nothing again.
func giveBack(batch []*message.Message) {
	for _, msg := range batch {
		broker.Settle(msg, false)
	}
}

// wait waits before the next try. False: the archiver stops.
func (r *reader) wait(pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-r.archiver.life.Done():
		return false
	}
}

// hold notes why letters are not archived.
func (r *reader) hold(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first := r.why == ""
	r.why = fmt.Sprintf("dead letters of %s are not archived, and wait at their broker: %v", r.sub.Topic.Name, err)
	if first {
		r.log.Warn(r.why)
	}
}

// release goes on after a hold.
func (r *reader) release() {
	r.subscriber.Resume()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.why = ""
	r.log.Info("dead letters are archived again")
}

func (r *reader) problem() string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.why
}
