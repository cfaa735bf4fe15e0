package pgstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// node runs a verb on a PostgreSQL of the test's own.
func node(t testing.TB, verb, dir string) {
	t.Helper()
	script, err := filepath.Abs("../../../deploy/local/node")
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, script, "postgres", verb, dir) //nolint:gosec // the repository's own script
	cmd.WaitDelay = time.Second                                    // the server inherits the output
	if out, err := cmd.CombinedOutput(); err != nil && !errors.Is(err, exec.ErrWaitDelay) {
		require.NoError(t, err, string(out))
	}
}

// TestDo_ServerKilled: PostgreSQL is killed in the middle of many COMMITs, and
// what the store answered is what is there after its restart.
func TestDo_ServerKilled(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	dir := t.TempDir()
	node(t, "start", dir)
	t.Cleanup(func() { node(t, "kill", dir) })
	port, err := os.ReadFile(filepath.Join(dir, "port"))
	require.NoError(t, err)
	s, err := Open(t.Context(), "postgres://waybill:waybill@127.0.0.1:"+strings.TrimSpace(string(port))+"/waybill", store.Options{})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })

	var mu sync.Mutex
	answers := make(map[string]error)
	var answered atomic.Int64
	life, end := context.WithCancel(t.Context())
	defer end()
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for n := 0; life.Err() == nil; n++ {
				name := fmt.Sprintf("%d-%d", worker, n)
				// Both or none: the message and its receipt.
				err := s.Do(context.Background(), s.Delay(store.DelayedMessage{Handler: "h", Message: name}),
					s.FinishReceipt(store.Receipt{ReceiptKey: store.ReceiptKey{Subject: name, Effect: "h"}}))
				mu.Lock()
				answers[name] = err
				mu.Unlock()
				answered.Add(1)
			}
		})
	}
	for range 3 {
		before := answered.Load()
		require.Eventually(t, func() bool { return answered.Load() > before+200 && s.Ping(t.Context()) == nil }, time.Minute, time.Millisecond)
		node(t, "kill", dir)
		node(t, "start", dir)
	}
	require.Eventually(t, func() bool { return s.Ping(t.Context()) == nil }, time.Minute, 10*time.Millisecond)
	end()
	wg.Wait()

	there := make(map[string]bool)
	for after := int64(0); ; {
		page, err := s.DelayedMessages(t.Context(), "h", after, store.MaxPage)
		require.NoError(t, err)
		if len(page) == 0 {
			break
		}
		for _, m := range page {
			there[m.Message] = true
			after = m.ID
		}
	}
	failed := 0
	for name, err := range answers {
		require.Equal(t, err == nil, there[name], "%s: %v", name, err)
		r, getErr := s.Receipt(t.Context(), store.ReceiptKey{Subject: name, Effect: "h"})
		require.NoError(t, getErr)
		require.Equal(t, there[name], r.State == store.Done)
		if err != nil {
			failed++
			require.ErrorIs(t, err, store.ErrUnavailable)
		}
	}
	t.Logf("%d transactions, %d of them failed", len(answers), failed)
	require.NotZero(t, failed, "the kills were not felt")
}
