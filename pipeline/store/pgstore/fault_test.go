package pgstore

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// cutter lets a test cut connections at a COMMIT.
type cutter struct {
	before, after atomic.Bool // cut once before it is sent, or once it is
}

type cutConn struct {
	net.Conn
	cut *cutter
}

func (c cutConn) Write(b []byte) (int, error) {
	commit := len(b) >= 11 && b[0] == 'Q' && string(b[5:11]) == "commit"
	if commit && c.cut.before.CompareAndSwap(true, false) {
		_ = c.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	n, err := c.Conn.Write(b)
	if commit && c.cut.after.CompareAndSwap(true, false) {
		// The server has it, and nobody will hear of it.
		_ = c.Conn.(*net.TCPConn).CloseRead()
	}
	return n, err
}

func openCut(t *testing.T, place string) (*Store, *cutter) {
	t.Helper()
	s, err := Open(t.Context(), place, store.Options{})
	require.NoError(t, err)
	s.pool.Close()
	cfg, err := pgxpool.ParseConfig(place)
	require.NoError(t, err)
	cut := &cutter{}
	dial := cfg.ConnConfig.DialFunc
	cfg.ConnConfig.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return cutConn{conn, cut}, err
	}
	cfg.ConnConfig.TLSConfig = nil
	pool, err := pgxpool.NewWithConfig(t.Context(), cfg)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return newStore(pool, store.Options{}), cut
}

// TestDo_ConnectionLostInCommit: what the server did counts, and the caller is
// told that.
func TestDo_ConnectionLostInCommit(t *testing.T) {
	t.Parallel()
	s, cut := openCut(t, place(t))
	require.NoError(t, s.Do(t.Context(), s.Delay(store.DelayedMessage{Handler: "h", Message: "m"})))
	leases, err := s.LeaseDue(t.Context(), "h", 1, time.Hour)
	require.NoError(t, err)
	require.Len(t, leases, 1)

	cut.before.Store(true)
	err = s.Do(t.Context(), s.EndDelayed(leases[0]))
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	left, err := s.DelayedMessages(t.Context(), "h", 0, 10)
	require.NoError(t, err)
	require.Len(t, left, 1, "it did not happen")

	cut.after.Store(true)
	require.NoError(t, s.Do(t.Context(), s.EndDelayed(leases[0])), "it did happen")
	require.False(t, cut.after.Load(), "the connection was cut")
	left, err = s.DelayedMessages(t.Context(), "h", 0, 10)
	require.NoError(t, err)
	require.Empty(t, left)
}

// TestFate_AskedAgain: where the answer to what became of a COMMIT is lost, too,
// the next one is the same.
func TestFate_AskedAgain(t *testing.T) {
	t.Parallel()
	s, _ := openCut(t, place(t))
	m, lost := newMarks(), errors.New("no answer")
	for range 2 {
		require.ErrorIs(t, m.fate(t.Context(), s.pool, "aborted", lost), lost)
	}
	_, err := s.pool.Exec(t.Context(), "INSERT INTO store_commit (token) VALUES ('committed')")
	require.NoError(t, err)
	for range 2 {
		require.NoError(t, m.fate(t.Context(), s.pool, "committed", lost))
	}
}

// TestInsist: the end of a COMMIT is waited for longer than the caller has time,
// but not when it stops.
func TestInsist(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		caller func() (context.Context, context.CancelFunc)
		longer time.Duration
	}{
		"no end":   {func() (context.Context, context.CancelFunc) { return context.WithCancel(context.Background()) }, askAtMost},
		"deadline": {func() (context.Context, context.CancelFunc) { return context.WithTimeout(context.Background(), 0) }, askLonger},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				caller, cancel := test.caller()
				defer cancel()
				ctx, done := insist(caller)
				defer done()
				synctest.Wait()
				time.Sleep(test.longer - time.Nanosecond) //nolint:forbidigo // inside testing/synctest
				require.NoError(t, ctx.Err())
				time.Sleep(time.Nanosecond) //nolint:forbidigo // inside testing/synctest
				synctest.Wait()
				require.Error(t, ctx.Err())
			})
		})
	}
	synctest.Test(t, func(t *testing.T) {
		caller, stop := context.WithCancel(context.Background())
		ctx, done := insist(caller)
		defer done()
		time.Sleep(askOnStop) //nolint:forbidigo // inside testing/synctest
		require.NoError(t, ctx.Err())
		stop()
		synctest.Wait()
		require.NoError(t, ctx.Err(), "an answer that is on its way is heard")
		time.Sleep(askOnStop) //nolint:forbidigo // inside testing/synctest
		synctest.Wait()
		require.Error(t, ctx.Err())
	})
}

// TestOpen_ManyAtOnce: instances that start together make the tables once.
func TestOpen_ManyAtOnce(t *testing.T) {
	t.Parallel()
	url := place(t)
	errs := make(chan error, 4)
	for range cap(errs) {
		go func() {
			s, err := Open(context.Background(), url, store.Options{})
			if err == nil {
				err = errors.Join(s.Ping(context.Background()), s.Close())
			}
			errs <- err
		}()
	}
	for range cap(errs) {
		require.NoError(t, <-errs)
	}
}

func TestOpen_ServerAway(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	away := url.URL{Scheme: "postgres", User: url.UserPassword("u", "s3cret"), Host: listener.Addr().String(), Path: "/db"}
	require.NoError(t, listener.Close())
	_, err = Open(t.Context(), away.String(), store.Options{})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.NotContains(t, err.Error(), "s3cret")
	_, err = Open(t.Context(), "postgres://u:s3cret@[", store.Options{})
	require.ErrorIs(t, err, store.ErrInvalid)
	require.NotContains(t, err.Error(), "s3cret")
}

func TestMark(t *testing.T) {
	t.Parallel()
	for code, unavailable := range map[string]bool{"57P01": true, "53300": true, "53100": true, "08006": true, "23505": false, "42601": false} {
		err := mark(&pgconn.PgError{Code: code})
		require.Equal(t, unavailable, errors.Is(err, store.ErrUnavailable), code)
	}
	require.NotErrorIs(t, mark(context.Canceled), store.ErrUnavailable)
}
