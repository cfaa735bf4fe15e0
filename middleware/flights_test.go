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
)

// airport is a broker whose answers a test gives.
type airport struct {
	flights *Flights

	mu   sync.Mutex
	to   []pipeline.Confirmer // of each message that has begun
	sent []string             // topics of what was sent the other way
	fail error                // what that says
}

func newAirport(t *testing.T) *airport {
	t.Helper()
	a := &airport{}
	a.flights = NewFlights(func(_ context.Context, _ *message.Message, _ []Output, to pipeline.Confirmer) bool {
		a.mu.Lock()
		defer a.mu.Unlock()
		a.to = append(a.to, to)
		return true
	})
	t.Cleanup(a.flights.Stop)
	return a
}

func (a *airport) send(_ context.Context, _ *message.Message, out []Output, _ []pipeline.Write) ([]error, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	each := make([]error, len(out))
	for i, o := range out {
		a.sent = append(a.sent, o.Topic)
		each[i] = a.fail
	}
	return each, nil
}

// begin has a message handled that has an output for each of names, and returns
// how it ends.
func (a *airport) begin(ctx context.Context, t *testing.T, holder Holder, names ...string) <-chan error {
	t.Helper()
	p := Publish{
		Handler: "work", Topics: map[string]string{"": "plain", "email": "emails", "call": "calls"},
		Send: a.send, Holder: holder, Flights: a.flights,
	}
	msg, outcome, _ := incoming(t)
	msg.SetContext(pipeline.WithOutcome(ctx, outcome))
	_, err := p.Middleware(produce(names...))(msg)
	require.NoError(t, err)
	require.NotNil(t, outcome.Deferred(), "the outcome is known later")
	ended := make(chan error, 2)
	outcome.Deferred().Begin(outcome, func(_ *pipeline.Outcome, err error) { ended <- err })
	return ended
}

// flies reports whether the message is still on its way.
func (a *airport) flies() bool {
	a.flights.mu.Lock()
	defer a.flights.mu.Unlock()
	return a.flights.first != nil
}

func TestFlights(t *testing.T) {
	t.Parallel()
	refused := errors.New("refused for now")

	t.Run("a message ends when all its outputs are confirmed, and no earlier", func(t *testing.T) {
		t.Parallel()
		a := newAirport(t)
		ended := a.begin(t.Context(), t, quick(nil), "email", "call")
		a.to[0].Confirmed(1, nil)
		require.True(t, a.flies())
		a.to[0].Confirmed(1, nil) // told twice: it says nothing of the other
		require.True(t, a.flies())
		a.to[0].Confirmed(0, nil)
		require.NoError(t, <-ended)
		a.to[0].Confirmed(0, refused) // too late to matter
		require.Empty(t, ended)
		require.Empty(t, a.sent)
	})

	t.Run("what was not confirmed is published again, and nothing else", func(t *testing.T) {
		t.Parallel()
		a := newAirport(t)
		ended := a.begin(t.Context(), t, quick(nil), "email", "call", "")
		a.to[0].Confirmed(0, nil)
		a.to[0].Confirmed(1, refused)
		a.to[0].Confirmed(2, nil)
		require.NoError(t, <-ended)
		require.Equal(t, []string{"calls"}, a.sent)
	})

	t.Run("what is refused for good fails the message", func(t *testing.T) {
		t.Parallel()
		a := newAirport(t)
		a.fail = pipeline.Permanent(errors.New("no such topic"))
		ended := a.begin(t.Context(), t, quick(nil), "")
		a.to[0].Confirmed(0, refused)
		require.ErrorContains(t, <-ended, "publish to plain: no such topic")
	})

	t.Run("what is not confirmed in time is held, and published again", func(t *testing.T) {
		t.Parallel()
		a := newAirport(t)
		why := make(chan string, 1)
		holder := quick(why)
		holder.Timeout = time.Millisecond
		ended := a.begin(t.Context(), t, holder, "", "email")
		a.to[0].Confirmed(1, nil)
		require.Contains(t, <-why, "not confirmed in time")
		require.NoError(t, <-ended)
		require.Equal(t, []string{"plain"}, a.sent)
		a.to[0].Confirmed(0, nil)
		require.Empty(t, ended, "it ends once")
	})

	t.Run("a message that was let go does not begin, and ends", func(t *testing.T) {
		t.Parallel()
		a := newAirport(t)
		a.fail = errors.New("not sent")
		over, end := context.WithCancelCause(t.Context())
		end(pipeline.ErrStopping)
		require.ErrorIs(t, <-a.begin(over, t, quick(nil), ""), pipeline.ErrStopping)
		require.Empty(t, a.to)
	})

	t.Run("one that is let go on the way ends, though nobody confirms", func(t *testing.T) {
		t.Parallel()
		a := newAirport(t)
		a.fail = errors.New("not sent")
		over, end := context.WithCancelCause(t.Context())
		ended := a.begin(over, t, quick(nil), "")
		end(pipeline.ErrStopping)
		require.ErrorIs(t, <-ended, pipeline.ErrStopping)
	})

	t.Run("what is on its way when all stops ends, and what comes after it, too", func(t *testing.T) {
		t.Parallel()
		a := newAirport(t)
		a.fail = errors.New("not sent")
		over, end := context.WithCancelCause(context.WithoutCancel(t.Context()))
		ended := a.begin(over, t, quick(nil), "")
		end(pipeline.ErrStopping)
		a.flights.Stop()
		require.ErrorIs(t, <-ended, pipeline.ErrStopping)
		require.ErrorIs(t, <-a.begin(over, t, quick(nil), ""), pipeline.ErrStopping)
		require.Len(t, a.to, 1)
	})

	t.Run("a panic of who publishes is an error of the message", func(t *testing.T) {
		t.Parallel()
		a := &airport{}
		a.flights = NewFlights(func(context.Context, *message.Message, []Output, pipeline.Confirmer) bool { panic("broken") })
		t.Cleanup(a.flights.Stop)
		require.NoError(t, <-a.begin(t.Context(), t, quick(nil), ""))
		require.Equal(t, []string{"plain"}, a.sent, "what did not begin is sent the other way")
	})

	t.Run("a message that the store has a part in waits as before", func(t *testing.T) {
		t.Parallel()
		a := newAirport(t)
		p := Publish{Handler: "work", Topics: map[string]string{"": "plain"}, Send: a.send, Holder: quick(nil), Flights: a.flights}
		msg, outcome, _ := incoming(t)
		outcome.Settling(func(pipeline.Result) pipeline.Write { return func(any) error { return nil } })
		_, err := p.Middleware(produce(""))(msg)
		require.NoError(t, err)
		require.Nil(t, outcome.Deferred())
		require.Equal(t, []string{"plain"}, a.sent)
	})
}
