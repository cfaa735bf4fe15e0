package replay

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
	"github.com/waybill-dev/waybill/pipeline/store/sqlitestore"
)

// stand is a store with dead letters, a Runner, and in place of the engine one
// that completes the messages put before its handlers, or lets them die.
type stand struct {
	t      *testing.T
	store  store.Store
	runner *Runner

	mu        sync.Mutex
	handled   []store.DelayedMessage // in order
	at        []time.Time            // of each
	published map[string][]*message.Message
	refuse    func(*message.Message) error
	die       func(id string) bool
}

// newStand opens a store; time in it, and in the bubble that it runs in, is
// synctest's.
func newStand(t *testing.T) *stand { return newStandAt(t, time.Now) }

// newStandAt opens it with a clock of its own.
func newStandAt(t *testing.T, now func() time.Time) *stand {
	t.Helper()
	st := &stand{t: t, published: make(map[string][]*message.Message), die: func(string) bool { return false }}
	s, err := sqlitestore.Open(t.Context(), filepath.Join(t.TempDir(), "waybill.db"), store.Options{Now: now})
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	st.store = s
	st.runner = st.newRunner(s)
	return st
}

func (st *stand) newRunner(s store.Store) *Runner {
	return New(Options{
		Store: s, Log: slog.New(slog.DiscardHandler), Publish: st.publish, Transform: transform,
		Handler: func(name string) (pipeline.Handler, bool) {
			ordering := pipeline.OrderingKey
			if name == "unordered" {
				ordering = pipeline.OrderingNone
			}
			return pipeline.Handler{Name: name, Ordering: ordering}, name == "work" || name == "unordered"
		},
		Topic: func(name string) (pipeline.Topic, bool) {
			return pipeline.Topic{Name: name}, name == "orders-in" || name == "other"
		},
	})
}

// picky is a store that cannot take one message.
type picky struct {
	store.Store
	id string
}

func (p picky) Requeue(m store.DelayedMessage) pipeline.Write {
	if m.Message == p.id {
		return func(any) error { return errors.New("key too long") }
	}
	return p.Store.Requeue(m)
}

// transform knows "upper", "fail:ID", and no more.
func transform(source string) (Edit, error) {
	id, failing := strings.CutPrefix(source, "fail:")
	if source != "upper" && !failing {
		return nil, errors.New("no such expression")
	}
	return func(c store.Content) (store.Content, error) {
		if failing && c.Headers["id"] == id {
			return c, errors.New("no such member")
		}
		return store.Content{Headers: c.Headers, Payload: []byte(strings.ToUpper(string(c.Payload)))}, nil
	}, nil
}

func (st *stand) publish(_ context.Context, topic string, msgs []*message.Message) []error {
	st.mu.Lock()
	defer st.mu.Unlock()
	errs := make([]error, len(msgs))
	for i, msg := range msgs {
		if st.refuse != nil {
			errs[i] = st.refuse(msg)
		}
		if errs[i] == nil {
			st.published[topic] = append(st.published[topic], msg)
		}
	}
	return errs
}

func name(n int) string { return fmt.Sprintf("m-%04d", n) }

// bury makes so many dead letters, of five keys.
func (st *stand) bury(n int) {
	st.t.Helper()
	var writes []pipeline.Write
	for i := range n {
		writes = append(writes, st.store.Bury(dead(i)))
	}
	require.NoError(st.t, st.store.Do(st.t.Context(), writes...))
}

func dead(n int) store.DeadLetter {
	return store.DeadLetter{
		Handler: "work", Message: name(n), Topic: "orders-in", Partition: 1, Offset: int64(n), Key: fmt.Sprint(n % 5), Copy: "first",
		Reason: pipeline.ReasonUnavailable, Error: "503", Fingerprint: "f", Attempts: 3,
		Content: store.Content{Headers: map[string]string{"id": name(n)}, Payload: []byte(fmt.Sprintf(`{"n": %d}`, n))},
	}
}

func (st *stand) sel(f store.Filter) store.Selection {
	st.t.Helper()
	sel, err := st.store.Select(st.t.Context(), store.Selection{Filter: f})
	require.NoError(st.t, err)
	return sel
}

// begin starts a replay of all that is dead.
func (st *stand) begin(o store.ReplayOptions) store.Replay {
	st.t.Helper()
	run, err := st.runner.Begin(st.t.Context(), store.Replay{Selection: st.sel(store.Filter{}).ID, Options: o, By: "ada", Why: "it is up"})
	require.NoError(st.t, err)
	return run
}

// engine handles what is put before the handlers, every 20 ms, until the
// context ends.
func (st *stand) engine(ctx context.Context) {
	for pause(ctx, 20*time.Millisecond) == nil {
		for _, handler := range []string{"work", "unordered"} {
			if err := st.handleDue(context.WithoutCancel(ctx), handler); err != nil {
				st.t.Error(err)
			}
		}
	}
}

// handleDue handles all that is due, one of a key at a time.
func (st *stand) handleDue(ctx context.Context, handler string) error {
	if _, due, err := st.store.NextDue(ctx, handler); err != nil || !due {
		return err
	}
	for {
		leases, err := st.store.LeaseDue(ctx, handler, 1000, time.Minute)
		if err != nil || len(leases) == 0 {
			return err
		}
		var ends []pipeline.Write
		for _, l := range leases {
			ends = append(ends, st.handle(l)...)
		}
		if err := st.store.Do(ctx, ends...); err != nil {
			return err
		}
	}
}

func (st *stand) handle(l store.Lease) []pipeline.Write {
	st.mu.Lock()
	defer st.mu.Unlock()
	st.handled, st.at = append(st.handled, l.DelayedMessage), append(st.at, time.Now())
	end := st.store.CloseLetter(l.Handler, l.Message, 0)
	if st.die(l.Message) {
		again := dead(0)
		again.Handler, again.Message, again.Copy, again.Replays, again.Content = l.Handler, l.Message, fmt.Sprint(len(st.handled)), l.Replays, l.Content
		end = st.store.Bury(again)
	}
	return []pipeline.Write{st.store.EndDelayed(l), end}
}

// run runs engine and Runner for so long.
func (st *stand) run(d time.Duration) {
	ctx, cancel := context.WithCancel(st.t.Context())
	var engine sync.WaitGroup
	engine.Go(func() { st.engine(ctx) })
	st.runner.Start()
	time.Sleep(d) //nolint:forbidigo // inside testing/synctest
	cancel()
	engine.Wait()
	st.runner.Stop()
	st.runner = st.newRunner(st.store)
}

func (st *stand) replay(id int64) store.Replay {
	st.t.Helper()
	run, err := st.store.ReplayRun(st.t.Context(), id)
	require.NoError(st.t, err)
	return run
}

func (st *stand) items(id int64) []store.ReplayItem {
	st.t.Helper()
	items, err := st.store.ReplayItems(st.t.Context(), store.ItemQuery{Replay: id, Limit: store.MaxPage})
	require.NoError(st.t, err)
	return items
}

// ids are what the engine handled, in order.
func (st *stand) ids() []string {
	st.mu.Lock()
	defer st.mu.Unlock()
	ids := make([]string, len(st.handled))
	for i, m := range st.handled {
		ids[i] = m.Message
	}
	return ids
}

// requireOnce requires that each letter was handled once, and those of each
// key in order.
func (st *stand) requireOnce(t require.TestingT, n int) {
	ids := st.ids()
	require.Len(t, ids, n, "each once")
	last := make(map[string]string)
	for i, id := range ids {
		key := st.handled[i].Key
		require.Less(t, last[key], id, "of a key, in order")
		last[key] = id
	}
	slices.Sort(ids)
	require.Len(t, slices.Compact(ids), n, "each of them")
}

// inBubble runs a test with a stand in a bubble of its own.
func inBubble(t *testing.T, what string, test func(t *testing.T, st *stand)) {
	t.Run(what, func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) { test(t, newStand(t)) })
	})
}
