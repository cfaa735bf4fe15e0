package delay_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/handlers/internal/delay"
)

func TestWait(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		require.NoError(t, delay.Wait(t.Context(), 50*time.Millisecond))
		require.Equal(t, 50*time.Millisecond, time.Since(began))
	})
}

func TestWait_EndsWithTheCause(t *testing.T) {
	t.Parallel()
	reason := errors.New("reason")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(reason)
	require.ErrorIs(t, delay.Wait(ctx, time.Hour), reason)
	require.NoError(t, delay.Wait(ctx, 0), "there is nothing to wait for")
}
