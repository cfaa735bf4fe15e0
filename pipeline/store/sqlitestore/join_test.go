package sqlitestore

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// TestWrite_JoinsTheBrokersTransaction: the broker has the file open, too, and
// what it writes and what the store writes happen together or not at all.
func TestWrite_JoinsTheBrokersTransaction(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "waybill.db")
	broker, err := sqlitefile.Open(path, sqlitefile.Options{Schema: "CREATE TABLE IF NOT EXISTS message (id TEXT)"})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, broker.Close()) })
	s := harness.Open(t, path, store.Options{})
	require.Equal(t, broker.Path(), s.Home())

	key := store.ReceiptKey{Subject: "m", Effect: "mail"}
	outcome := []pipeline.Write{s.FinishReceipt(store.Receipt{ReceiptKey: key}), s.Delay(store.DelayedMessage{Handler: "h", Message: "m"})}
	commit := func(writes ...pipeline.Write) error {
		return broker.Write(t.Context(), func(tx *sqlitefile.Tx) error {
			if _, err := tx.Exec("INSERT INTO message (id) VALUES ('output')"); err != nil {
				return err
			}
			for _, write := range writes {
				if err := write(tx); err != nil {
					return err
				}
			}
			return nil
		})
	}
	published := func() (n int) {
		require.NoError(t, broker.Reader().QueryRow("SELECT count(*) FROM message").Scan(&n))
		return n
	}
	state := func() store.ReceiptState {
		r, err := s.Receipt(t.Context(), key)
		require.NoError(t, err)
		return r.State
	}

	broken := errors.New("broken")
	require.ErrorIs(t, commit(append(outcome, func(any) error { return broken })...), broken)
	require.Zero(t, published())
	require.Equal(t, store.Free, state())
	require.ErrorIs(t, commit(append(outcome, s.EndDelayed(store.Lease{Token: "stale"}))...), store.ErrStaleToken)
	require.Zero(t, published(), "a late outcome publishes nothing")

	require.NoError(t, commit(outcome...))
	require.Equal(t, 1, published())
	require.Equal(t, store.Done, state())
}

// TestOpen_BeforeTheBroker: the order in which store and broker open their
// file does not matter.
func TestOpen_BeforeTheBroker(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "waybill.db")
	harness.Open(t, path, store.Options{})
	broker, err := sqlitefile.Open(path, sqlitefile.Options{Schema: "CREATE TABLE IF NOT EXISTS message (id TEXT)"})
	require.NoError(t, err)
	require.NoError(t, broker.Write(t.Context(), func(tx *sqlitefile.Tx) error {
		_, err := tx.Exec("INSERT INTO message (id) VALUES ('m')")
		return err
	}))
	require.NoError(t, broker.Close())
}

// TestPing_DiskFull: trouble has its reason and the next step, is seen by Ping,
// and goes by itself.
func TestPing_DiskFull(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "waybill.db")
	file, err := sqlitefile.Open(path, sqlitefile.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, file.Close()) })
	s := harness.Open(t, path, store.Options{})
	limit := func(pages string) {
		require.NoError(t, file.Write(t.Context(), func(tx *sqlitefile.Tx) error {
			var got int
			return tx.QueryRow("PRAGMA max_page_count(" + pages + ")").Scan(&got)
		}))
	}
	limit("40")
	big := s.Bury(store.DeadLetter{Handler: "h", Message: "m", Copy: "1", Content: store.Content{Payload: make([]byte, 4<<20)}})
	err = s.Do(t.Context(), big)
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	require.ErrorContains(t, err, "free some space")
	limit("100000")
	require.NoError(t, s.Do(t.Context(), big))
	require.NoError(t, s.Ping(t.Context()))
}

// TestOpen_Garbage: a file that is no store says what to do, also when it
// becomes one under our hands.
func TestOpen_Garbage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "waybill.db")
	garbage := []byte(strings.Repeat("not a database ", 10_000))
	require.NoError(t, os.WriteFile(path, garbage, 0o600))
	_, err := Open(t.Context(), path, store.Options{})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorContains(t, err, "from a backup")

	path = filepath.Join(t.TempDir(), "waybill.db")
	s := harness.Open(t, path, store.Options{})
	for n := range 200 { // more than a connection keeps in memory
		require.NoError(t, s.Do(t.Context(), s.Bury(store.DeadLetter{
			Handler: "h", Message: fmt.Sprint(n), Copy: "1", Content: store.Content{Payload: make([]byte, 50_000)},
		})))
	}
	file, err := os.OpenFile(path, os.O_WRONLY, 0)
	require.NoError(t, err)
	for at := int64(1 << 14); at < 8<<20; at += int64(len(garbage)) {
		_, err = file.WriteAt(garbage, at)
		require.NoError(t, err)
	}
	require.NoError(t, file.Close())
	_, err = s.CountLetters(t.Context(), store.Filter{Field: store.FieldText, Value: "x"})
	require.ErrorIs(t, err, store.ErrUnavailable)
	require.ErrorContains(t, err, "from a backup")
}

// TestOpen_LogGarbage: a damaged message log is put aside, and keeps nobody
// from the store.
func TestOpen_LogGarbage(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "waybill.db")
	log := filepath.Join(filepath.Dir(path), logFile)
	garbage := strings.Repeat("not a database ", 10_000)
	require.NoError(t, os.WriteFile(log, []byte(garbage), 0o600))
	var said bytes.Buffer
	s := harness.Open(t, path, store.Options{Log: slog.New(slog.NewTextHandler(&said, nil))})
	require.NoError(t, s.AppendLog(t.Context(), []store.LogEntry{{Handler: "h", Message: "m", State: store.Completed}}))
	aside, err := filepath.Glob(log + ".damaged-*")
	require.NoError(t, err)
	require.Len(t, aside, 1)
	require.Contains(t, said.String(), aside[0])
	kept, err := os.ReadFile(aside[0])
	require.NoError(t, err)
	require.Equal(t, garbage, string(kept))
}
