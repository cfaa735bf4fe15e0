package middleware

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// book is a store.Log that refuses as often as it is told to.
type book struct {
	store.Log
	mu      sync.Mutex
	fails   int
	entries []store.LogEntry
}

func (b *book) AppendLog(_ context.Context, entries []store.LogEntry) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fails--; b.fails >= 0 {
		return errors.New("disk full")
	}
	b.entries = append(b.entries, entries...)
	return nil
}

func (b *book) TrimLog(context.Context, store.LogRule) (int, error) { return 0, nil }

// logging is Log around the part of the chain that it goes by.
func logging(b *book, g *grave, held chan string) (*messagelog.Log, func(kind message.HandlerFunc) message.HandlerFunc) {
	l := messagelog.New(messagelog.Options{
		Config: pipeline.MessageLog{Mode: pipeline.LogAll, Payload: true}, Instance: "one", Store: b,
		Writer: store.LogWriterOptions{Interval: time.Millisecond},
	})
	return l, func(kind message.HandlerFunc) message.HandlerFunc {
		kind = Retry{Immediate: 1, Initial: time.Microsecond}.Middleware(Slots{Number: 1}.Middleware(Recover(kind)))
		return Log{
			Log: l, Route: messagelog.Route{Handler: "work", Topic: "orders-in", Subscription: "orders-in.work"}, Holder: quick(held),
		}.Middleware(settle(g, quick(nil), quiet).Middleware(kind))
	}
}

func TestLog(t *testing.T) {
	t.Parallel()

	t.Run("an entry has each run, its worker and its end", func(t *testing.T) {
		t.Parallel()
		b := &book{}
		l, around := logging(b, &grave{}, nil)
		runs := 0
		msg, _, _ := incoming(t)
		_, err := around(func(*message.Message) ([]*message.Message, error) {
			if runs++; runs == 1 {
				return nil, pipeline.WithReason(errBoom, pipeline.ReasonTimeout)
			}
			return nil, nil
		})(msg)
		require.NoError(t, err)
		l.Close()
		e := b.entries[0]
		require.Equal(t, store.Completed, e.State)
		require.Equal(t, "in-1", e.Message)
		require.Equal(t, int64(42), e.Offset)
		require.Equal(t, int32(3), e.Partition)
		require.Equal(t, `{"id":"7"}`, string(e.Payload))
		require.Equal(t, "shop", e.Headers["source"])
		require.Equal(t, pipeline.ReasonTimeout, e.Reason, "of the last failure, though it succeeded")
		require.Len(t, e.Attempts, 2)
		require.Equal(t, "one/0", e.Attempts[0].Worker)
		require.Equal(t, pipeline.ReasonTimeout, e.Attempts[0].Reason)
		require.Empty(t, e.Attempts[1].Error)
	})

	t.Run("a failure is held while the log is away, and written once", func(t *testing.T) {
		t.Parallel()
		b, g := &book{fails: 5}, &grave{}
		held := make(chan string, 1)
		l, around := logging(b, g, held)
		msg, outcome, _ := incoming(t)
		_, err := around(func(*message.Message) ([]*message.Message, error) { return nil, pipeline.Permanent(errBoom) })(msg)
		require.NoError(t, err)
		require.Len(t, held, 1)
		require.Contains(t, <-held, "write to the message log")
		require.Equal(t, pipeline.ResultDead, outcome.Result)
		require.Len(t, b.entries, 1, "it is there when the message is done, not later")
		require.Equal(t, store.Dead, b.entries[0].State)
		require.Len(t, g.letters, 1, "and not settled twice for it")
		l.Close()
		require.Zero(t, l.Unlogged())
	})

	t.Run("a stop while held settles nothing", func(t *testing.T) {
		t.Parallel()
		held := make(chan string, 1)
		l, around := logging(&book{fails: 1 << 30}, &grave{}, held)
		defer l.Close()
		msg, _, stop := incoming(t)
		done := make(chan error)
		go func() {
			_, err := around(func(*message.Message) ([]*message.Message, error) { return nil, pipeline.Permanent(errBoom) })(msg)
			done <- err
		}()
		select {
		case <-held:
		case err := <-done:
			require.Failf(t, "not held", "%v", err)
		}
		stop(pipeline.ErrStopping)
		require.ErrorIs(t, <-done, pipeline.ErrStopping)
	})

	t.Run("a success does not wait for the log, and is counted", func(t *testing.T) {
		t.Parallel()
		l, around := logging(&book{fails: 1 << 30}, &grave{}, nil)
		msg, _, _ := incoming(t)
		_, err := around(func(*message.Message) ([]*message.Message, error) { return nil, nil })(msg)
		require.NoError(t, err)
		l.Close()
		require.Equal(t, int64(1), l.Unlogged())
	})

	t.Run("what was cut short by a stop is nobody's failure", func(t *testing.T) {
		t.Parallel()
		b := &book{}
		l, around := logging(b, &grave{}, nil)
		msg, _, stop := incoming(t)
		_, err := around(func(msg *message.Message) ([]*message.Message, error) {
			stop(pipeline.ErrStopping)
			return nil, msg.Context().Err()
		})(msg)
		require.ErrorIs(t, err, pipeline.ErrStopping)
		require.Empty(t, l.Running())
		l.Close()
		require.Empty(t, b.entries)
	})

	t.Run("without a log there is no middleware", func(t *testing.T) {
		t.Parallel()
		msg, outcome, _ := incoming(t)
		_, err := Log{}.Middleware(Slots{Number: 1}.Middleware(func(*message.Message) ([]*message.Message, error) { return nil, nil }))(msg)
		require.NoError(t, err)
		require.Nil(t, outcome.Witness)
	})
}
