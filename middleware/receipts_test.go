package middleware

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// ledger is a store of receipts that can be away and busy at will, which a
// real one cannot be told.
type ledger struct {
	store.Receipts // what is not faked is not called

	mu   sync.Mutex
	all  map[store.ReceiptKey]store.Receipt
	away int  // so many calls fail
	busy bool // another instance is at everything
}

func (l *ledger) fails() error {
	if l.away--; l.away >= 0 {
		return store.ErrUnavailable
	}
	return nil
}

func (l *ledger) Reserve(_ context.Context, r store.Reservation) (store.Receipt, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fails(); err != nil {
		return store.Receipt{}, err
	}
	was, there := l.all[r.ReceiptKey]
	switch {
	case l.busy:
		return store.Receipt{State: store.Busy}, nil
	case !there:
		was.State = store.Free
	case was.Hash != r.Hash:
		return was, pipeline.Permanent(store.ErrConflict)
	case was.State == store.Done:
		return was, nil
	}
	l.all[r.ReceiptKey] = store.Receipt{ReceiptKey: r.ReceiptKey, State: store.Reserved, Hash: r.Hash, Owner: r.Owner}
	return was, nil
}

func (l *ledger) FinishReceipt(r store.Receipt) pipeline.Write {
	return func(any) error {
		r.State = store.Done
		l.all[r.ReceiptKey] = r
		return nil
	}
}

func (l *ledger) FreeReceipt(key store.ReceiptKey, _ string) pipeline.Write {
	return func(any) error {
		if l.all[key].State != store.Done {
			delete(l.all, key)
		}
		return nil
	}
}

func (l *ledger) Do(_ context.Context, writes ...pipeline.Write) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.fails(); err != nil {
		return err
	}
	for _, w := range writes {
		if err := w(nil); err != nil {
			return err
		}
	}
	return nil
}

// state is that of the one receipt.
func (l *ledger) state() store.ReceiptState {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, r := range l.all {
		return r.State
	}
	return store.Free
}

// effects is the chain from record to receipts over kind, for messages whose
// subject is the order.
type effects struct {
	store  *ledger
	once   *pipeline.Once
	inHand InHand
	sent   func([]Output) error // nil: all is sent
	dead   atomic.Int32
	held   chan string
}

func newEffects() *effects {
	return &effects{store: &ledger{all: map[store.ReceiptKey]store.Receipt{}}, once: pipeline.OncePerID(), held: make(chan string, 100)}
}

func (e *effects) chain(kind message.HandlerFunc) message.HandlerFunc {
	send := func(ctx context.Context, _ *message.Message, out []Output, writes []pipeline.Write) ([]error, error) {
		each := make([]error, len(out))
		for _, o := range out {
			o.Message.SetContext(ctx) // as whoever publishes may do
			if o.Topic == "dlq" {
				e.dead.Add(1)
			}
		}
		if e.sent != nil {
			if err := e.sent(out); err != nil {
				each[0] = err
				return each, nil
			}
		}
		return each, e.store.Do(ctx, writes...)
	}
	h := Receipts{Once: *e.once, Effect: "mail", Owner: "a", Store: e.store, InHand: &e.inHand, Holder: quick(e.held), Log: quiet}.Middleware(
		Retry{Immediate: 1, Initial: time.Millisecond}.Middleware(kind))
	h = Publish{Handler: "mail", Topics: map[string]string{"": "out", "answers": "answered"}, Send: send, Holder: quick(e.held)}.Middleware(h)
	h = Rerun{Holder: quick(e.held)}.Middleware(h)
	h = Settle{Handler: "mail", DeadLetter: "dlq", Send: send, Holder: quick(e.held), Log: quiet}.Middleware(h)
	return Record{Begin: func() {}, Done: func(*pipeline.Outcome, time.Duration) {}}.Middleware(h)
}

// outcome runs the chain over a message of the order and returns what became
// of it.
func (e *effects) outcome(kind message.HandlerFunc, msg *message.Message) (o *pipeline.Outcome, err error) {
	_, err = e.chain(func(msg *message.Message) ([]*message.Message, error) {
		return kind(msg)
	})(msg)
	return pipeline.OutcomeOf(msg.Context()), err
}

func TestReceipts(t *testing.T) {
	t.Parallel()

	t.Run("2-41 of two messages of one order in hand at a time the second waits, and has no effect", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e := newEffects()
			e.once = &pipeline.Once{Subject: func(*message.Message) string { return "order-7" }}
			var runs atomic.Int32
			answer := make(chan struct{})
			h := e.chain(func(in *message.Message) ([]*message.Message, error) {
				runs.Add(1)
				<-answer
				return produce("")(in)
			})
			for range 3 {
				msg, _, _ := incoming(t)
				go func() { _, _ = h(msg) }()
			}
			synctest.Wait()
			require.Equal(t, int32(1), runs.Load())
			require.Len(t, e.inHand.Longer(-1), 1)
			close(answer)
			synctest.Wait()
			require.Equal(t, int32(1), runs.Load())
			require.Empty(t, e.inHand.Longer(-1))
		})
	})

	t.Run("1-08 a message that comes again after it was done has no effect, and the outputs of the first", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		var sent []string
		e.sent = func(out []Output) error { sent = append(sent, out[0].Message.UUID); return nil }
		runs := 0
		for range 2 {
			msg, _, _ := incoming(t)
			o, err := e.outcome(func(in *message.Message) ([]*message.Message, error) { runs++; return produce("")(in) }, msg)
			require.NoError(t, err)
			require.Equal(t, pipeline.ResultOK, o.Result, "it is no failure either")
		}
		require.Equal(t, 1, runs)
		require.Len(t, sent, 2)
		require.Equal(t, sent[0], sent[1])
	})

	t.Run("while the store is away the message is held, and no attempt is burnt", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		e.store.away = 5
		msg, _, _ := incoming(t)
		o, err := e.outcome(produce(""), msg)
		require.NoError(t, err)
		require.Equal(t, pipeline.ResultOK, o.Result)
		require.Equal(t, 1, o.Attempts)
		require.Contains(t, <-e.held, "reserve the receipt: ")
		require.Equal(t, store.Done, e.store.state())
	})

	t.Run("while another instance is at it the message waits, until a stop", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			e := newEffects()
			e.store.busy = true
			msg, _, _ := incoming(t)
			draining := make(chan struct{})
			msg.SetContext(pipeline.WithDraining(msg.Context(), draining))
			stopped := make(chan error)
			go func() {
				_, err := e.outcome(func(*message.Message) ([]*message.Message, error) { panic("it ran") }, msg)
				stopped <- err
			}()
			time.Sleep(time.Minute) //nolint:forbidigo // of synctest's clock: it asked many times
			close(draining)
			require.ErrorIs(t, <-stopped, pipeline.ErrStopping)
			require.Empty(t, e.inHand.Longer(-1))
		})
	})

	t.Run("2-41 in doubt the kind decides, and what is dead leaves no receipt", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		e.once.Doubt = func(*message.Message) error { return pipeline.Permanent(errBoom) }
		first, _, cut := incoming(t)
		o, err := e.outcome(func(*message.Message) ([]*message.Message, error) {
			cut(pipeline.ErrStopping)
			return nil, errBoom
		}, first)
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.Equal(t, pipeline.ResultStopped, o.Result)
		require.Equal(t, store.Reserved, e.store.state(), "it was cut short: nobody knows whether it happened")
		again, _, _ := incoming(t)
		o, err = e.outcome(produce(""), again)
		require.NoError(t, err)
		require.Equal(t, pipeline.ResultDead, o.Result)
		require.Zero(t, o.Attempts)
		require.Equal(t, store.Free, e.store.state())
	})

	t.Run("a stop before the effect is no doubt", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		msg, _, _ := incoming(t)
		_, err := e.outcome(func(*message.Message) ([]*message.Message, error) {
			return nil, errors.Join(pipeline.ErrStopping, errBoom) // as the breaker says while it drains
		}, drained(msg))
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.Equal(t, store.Free, e.store.state())
	})

	t.Run("2-40 a stop after the effect, while its outputs cannot be published, keeps the receipt", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		e.sent = func([]Output) error { return errBoom }
		msg, _, stop := incoming(t)
		go func() {
			<-e.held
			stop(pipeline.ErrStopping)
		}()
		_, err := e.outcome(produce("answers"), msg)
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.Equal(t, store.Done, e.store.state())

		var sent []string
		e.sent = func(out []Output) error { sent = append(sent, out[0].Topic+" "+out[0].Message.UUID); return nil }
		again, _, _ := incoming(t)
		o, err := e.outcome(func(*message.Message) ([]*message.Message, error) { panic("it ran") }, again)
		require.NoError(t, err)
		require.Equal(t, pipeline.ResultOK, o.Result)
		require.Equal(t, []string{"answered " + pipeline.OutputID("in-1", "mail", 0)}, sent, "where the first run had it go")
	})

	t.Run("a message that is handled anew, as its state has changed, begins its effect anew", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		e.once.Doubt = func(*message.Message) error { return pipeline.Permanent(errBoom) }
		runs := 0
		e.sent = func([]Output) error {
			if runs == 1 {
				return pipeline.Permanent(pipeline.ErrOutdated)
			}
			return nil
		}
		msg, _, _ := incoming(t)
		o, err := e.outcome(func(in *message.Message) ([]*message.Message, error) {
			runs++
			return produce("")(in)
		}, msg)
		require.NoError(t, err)
		require.Equal(t, pipeline.ResultOK, o.Result)
		require.Equal(t, 2, runs)
		require.Equal(t, store.Done, e.store.state())
		require.Empty(t, e.inHand.Longer(-1))
	})

	t.Run("outputs that are refused for good make a dead letter, which leaves no receipt", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		e.sent = func(out []Output) error {
			if out[0].Topic == "out" {
				return pipeline.Permanent(errBoom)
			}
			return nil
		}
		msg, _, _ := incoming(t)
		o, err := e.outcome(produce(""), msg)
		require.NoError(t, err)
		require.Equal(t, pipeline.ResultDead, o.Result)
		require.Equal(t, store.Free, e.store.state())
	})

	t.Run("a subject without bound is stored as its hash", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		e.once = &pipeline.Once{Subject: func(*message.Message) string { return strings.Repeat("7", 10_000) }}
		msg, _, _ := incoming(t)
		_, err := e.outcome(produce(""), msg)
		require.NoError(t, err)
		for key := range e.store.all {
			require.LessOrEqual(t, len(key.Subject), maxSubject)
		}
	})

	t.Run("what nothing tells from others has its effect each time", func(t *testing.T) {
		t.Parallel()
		e := newEffects()
		var runs int
		for range 2 {
			msg, _, _ := incoming(t)
			msg.Metadata.Set(pipeline.MetaIDSource, pipeline.IDSourceContent)
			_, err := e.outcome(func(in *message.Message) ([]*message.Message, error) { runs++; return nil, nil }, msg)
			require.NoError(t, err)
		}
		require.Equal(t, 2, runs)
		require.Empty(t, e.store.all)
	})
}

// drained is a message whose subscription takes no more.
func drained(msg *message.Message) *message.Message {
	over := make(chan struct{})
	close(over)
	msg.SetContext(pipeline.WithDraining(msg.Context(), over))
	return msg
}
