package middleware

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// saved is a Send whose writes are made.
func saved(_ context.Context, _ *message.Message, out []Output, writes []pipeline.Write) ([]error, error) {
	for _, w := range writes {
		if err := w(nil); err != nil {
			return make([]error, len(out)), err
		}
	}
	return make([]error, len(out)), nil
}

func TestRerun(t *testing.T) {
	t.Parallel()
	outdated := pipeline.Permanent(fmt.Errorf("%w: %w", pipeline.ErrOutdated, store.ErrConflict))

	t.Run("a message whose state was changed meanwhile begins anew, and nothing of the run before is left", func(t *testing.T) {
		t.Parallel()
		made, runs := 0, 0
		kind := func(msg *message.Message) ([]*message.Message, error) {
			runs++
			run := runs
			pipeline.OutcomeOf(msg.Context()).Save(func(any) error {
				if run < 3 {
					return outdated
				}
				made++
				return nil
			})
			return produce("")(msg)
		}
		msg, outcome, _ := incoming(t)
		publish := Publish{Handler: "track", Topics: map[string]string{"": "out"}, Holder: quick(nil), Send: saved}
		h := Rerun{Holder: quick(nil)}.Middleware(publish.Middleware(Retry{}.Middleware(kind)))
		_, err := h(msg)
		require.NoError(t, err)
		require.Equal(t, 3, runs)
		require.Equal(t, 1, made)
		require.Equal(t, 1, outcome.Attempts, "a lost race burns no attempt")
		require.Len(t, outcome.Outputs, 1)
		require.Len(t, outcome.Writes(pipeline.ResultOK), 1)
		require.Empty(t, outcome.Writes(pipeline.ResultDead), "what failed leaves nothing")
	})

	t.Run("while the store is away the message is held, and no attempt is burnt", func(t *testing.T) {
		t.Parallel()
		held := make(chan string, 1)
		runs := 0
		kind := func(*message.Message) ([]*message.Message, error) {
			if runs++; runs < 4 {
				return nil, fmt.Errorf("get document: %w", store.ErrUnavailable)
			}
			return nil, nil
		}
		msg, outcome, _ := incoming(t)
		_, err := Rerun{Holder: quick(held)}.Middleware(Retry{}.Middleware(kind))(msg)
		require.NoError(t, err)
		require.Contains(t, <-held, "use the store: get document: store unavailable")
		require.Equal(t, 1, outcome.Attempts)
		require.NoError(t, outcome.Err)
	})

	t.Run("a failure of its own goes up at once", func(t *testing.T) {
		t.Parallel()
		broken := errors.New("broken")
		runs := 0
		msg, _, _ := incoming(t)
		_, err := Rerun{Holder: quick(nil)}.Middleware(func(*message.Message) ([]*message.Message, error) {
			runs++
			return nil, broken
		})(msg)
		require.ErrorIs(t, err, broken)
		require.Equal(t, 1, runs)
	})

	t.Run("a stop ends both, and is no failure", func(t *testing.T) {
		t.Parallel()
		for _, cause := range []error{outdated, store.ErrUnavailable} {
			synctest.Test(t, func(t *testing.T) {
				msg, _, cancel := incoming(t)
				runs := 0
				_, err := Rerun{Holder: quick(nil)}.Middleware(func(*message.Message) ([]*message.Message, error) {
					if runs++; runs == 5 {
						cancel(pipeline.ErrStopping)
					}
					return nil, cause
				})(msg)
				require.ErrorIs(t, err, pipeline.ErrStopping)
				require.Equal(t, 5, runs)
			})
		}
	})
}
