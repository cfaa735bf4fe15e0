package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/storetest"
)

// load is many transactions at a time, and what was answered to each.
type load struct {
	store    *Store
	patience time.Duration // of each transaction's context
	life     context.Context
	end      context.CancelFunc
	workers  sync.WaitGroup
	answered atomic.Int64

	mu      sync.Mutex
	answers map[string]error
}

func startLoad(t testing.TB, s *Store, patience time.Duration) *load {
	l := &load{store: s, patience: patience, answers: make(map[string]error)}
	l.life, l.end = context.WithCancel(t.Context())
	for worker := range 8 {
		l.workers.Go(func() {
			for n := 0; l.life.Err() == nil; n++ {
				l.transact(fmt.Sprintf("%d-%d", worker, n))
			}
		})
	}
	return l
}

// transact puts a message and its receipt: both or none.
func (l *load) transact(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), l.patience)
	defer cancel()
	err := l.store.Do(ctx, l.store.Delay(store.DelayedMessage{Handler: "h", Message: name}),
		l.store.FinishReceipt(store.Receipt{ReceiptKey: store.ReceiptKey{Subject: name, Effect: "h"}}))
	l.mu.Lock()
	defer l.mu.Unlock()
	l.answers[name] = err
	l.answered.Add(1)
}

// flows waits until the server answers, and has answered some.
func (l *load) flows(t testing.TB) {
	t.Helper()
	before := l.answered.Load()
	require.Eventually(t, func() bool { return l.answered.Load() > before+200 && l.store.Ping(t.Context()) == nil }, time.Minute, time.Millisecond)
}

// stop ends the load, and requires that what was answered is what is there.
func (l *load) stop(t testing.TB) {
	t.Helper()
	l.end()
	l.workers.Wait()
	there := make(map[string]bool)
	for after := int64(0); ; {
		page, err := l.store.DelayedMessages(t.Context(), "h", after, store.MaxPage)
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
	for name, err := range l.answers {
		require.Equal(t, err == nil, there[name], "%s: %v", name, err)
		r, getErr := l.store.Receipt(t.Context(), store.ReceiptKey{Subject: name, Effect: "h"})
		require.NoError(t, getErr)
		require.Equal(t, there[name], r.State == store.Done)
		if err == nil {
			continue
		}
		failed++
		if !errors.Is(err, context.DeadlineExceeded) {
			require.ErrorIs(t, err, store.ErrUnavailable)
		}
	}
	t.Logf("%d transactions, %d of them failed", len(l.answers), failed)
	require.NotZero(t, failed, "the harm was not felt")
}

// TestDo_ServerHarmed: harm is done to PostgreSQL in the middle of many
// COMMITs, and what the store answered is what is there afterwards.
func TestDo_ServerHarmed(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("needs PostgreSQL")
	}
	for name, harm := range map[string]func(t *testing.T, server *storetest.Server, l *load){
		"Killed": func(_ *testing.T, server *storetest.Server, _ *load) {
			server.KillServer()
			server.Start()
		},
		// Nobody ends what it does, or says what came of it.
		"AllKilled": func(_ *testing.T, server *storetest.Server, _ *load) {
			server.Kill()
			server.Start()
		},
		// One session is killed: the server ends all others and recovers.
		"SessionKilled": func(t *testing.T, server *storetest.Server, _ *load) {
			for pid, title := range server.Processes() {
				if strings.Contains(title, "waybill waybill") {
					require.NoError(t, syscall.Kill(pid, syscall.SIGKILL))
					return
				}
			}
			require.Fail(t, "no session")
		},
		// Nothing answers for longer than a transaction has patience.
		"Frozen": func(_ *testing.T, server *storetest.Server, l *load) {
			server.Signal(syscall.SIGSTOP)
			defer server.Signal(syscall.SIGCONT)
			<-time.After(2 * l.patience)
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := storetest.StartServer(t)
			s, err := Open(t.Context(), server.URL(), store.Options{})
			require.NoError(t, err)
			t.Cleanup(func() { require.NoError(t, s.Close()) })
			l := startLoad(t, s, time.Second)
			for range 3 {
				l.flows(t)
				harm(t, server, l)
			}
			l.flows(t)
			l.stop(t)
		})
	}
}
