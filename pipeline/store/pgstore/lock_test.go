package pgstore

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// TestDelay_WaitsForWhoEndsItsKey: a message that is put behind another while
// that one ends is not blocked by one that is gone.
func TestDelay_WaitsForWhoEndsItsKey(t *testing.T) {
	t.Parallel()
	s, err := Open(t.Context(), place(t), store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	message := func(name string) store.DelayedMessage {
		return store.DelayedMessage{Handler: "h", Message: name, Key: "k"}
	}
	require.NoError(t, s.Do(t.Context(), s.Delay(message("first"))))
	leases, err := s.LeaseDue(t.Context(), "h", 1, time.Hour)
	require.NoError(t, err)
	require.Len(t, leases, 1)

	tx, err := s.pool.Begin(t.Context())
	require.NoError(t, err)
	require.NoError(t, s.EndDelayed(leases[0])(&transaction{ctx: t.Context(), tx: tx}))
	put := make(chan error, 1)
	go func() { put <- s.Do(t.Context(), s.Delay(message("second"))) }()
	require.Eventually(t, func() bool { // it waits, or did not
		var waits bool
		err := s.pool.QueryRow(t.Context(), `SELECT EXISTS (SELECT FROM pg_locks l JOIN pg_locks mine USING (database, classid, objid, objsubid)
			WHERE l.locktype = 'advisory' AND NOT l.granted AND mine.pid = $1)`, tx.Conn().PgConn().PID()).Scan(&waits)
		return err == nil && waits || len(put) == 1
	}, 30*time.Second, 5*time.Millisecond)
	require.NoError(t, tx.Commit(t.Context()))
	require.NoError(t, <-put)
	leases, err = s.LeaseDue(t.Context(), "h", 1, time.Hour)
	require.NoError(t, err)
	require.Len(t, leases, 1)
	require.Equal(t, "second", leases[0].Message)
}
