package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// due is a message that waits in the store and is due.
func due(id, key string) store.DelayedMessage {
	return store.DelayedMessage{
		Message: id, Topic: "in", Partition: 3, Offset: 17, Key: key, Due: time.Now().Add(-time.Second), Attempts: 4, Rounds: 2,
		First: time.Now().Add(-time.Hour), Content: store.Content{Headers: map[string]string{"tenant": "t"}, Payload: []byte(`{"n":1}`)},
	}
}

func byKey(h *pipeline.Handler) {
	h.Ordering = pipeline.OrderingKey
	h.Retry.Delayed = pipeline.Delayed{Initial: time.Millisecond, Max: time.Millisecond, Multiplier: 1, Attempts: 3}
}

func (r *rig) sendKey(id, key string) {
	msg := message.NewMessage(id, []byte(`{}`))
	msg.Metadata.Set(pipeline.MetaPartitionKey, key)
	r.fake.in <- msg
}

// silent is a store that never answers some calls, as over a connection whose
// other end is gone without a word.
type silent struct {
	*cellar
	silent   atomic.Value   // a string: "next", "lease", or the message whose lease is not made to last
	extended map[string]int // under the cellar's mutex
}

func (s *silent) NextDue(ctx context.Context, handler string) (at time.Time, ok bool, err error) {
	if s.silent.Load() == "next" {
		<-ctx.Done()
		return at, false, ctx.Err()
	}
	return s.cellar.NextDue(ctx, handler)
}

func (s *silent) LeaseDue(ctx context.Context, handler string, n int, ttl time.Duration) ([]store.Lease, error) {
	if s.silent.Load() == "lease" {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return s.cellar.LeaseDue(ctx, handler, n, ttl)
}

func (s *silent) ExtendLease(ctx context.Context, l store.Lease, _ time.Duration) error {
	if s.silent.Load() == l.Message {
		<-ctx.Done()
		return ctx.Err()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.extended[l.Message]++
	return nil
}

// stopAtOnce stops what has nothing in hand, in time.
func stopAtOnce(t *testing.T, r *rig) {
	t.Helper()
	began := time.Now()
	require.NoError(t, r.Stop(t.Context()))
	require.Less(t, time.Since(began), 2*leaseAnswer)
}

func TestInlet(t *testing.T) {
	t.Parallel()

	t.Run("what is due runs with what it came with, and its end in the store is part of its outcome", func(t *testing.T) {
		t.Parallel()
		s := &cellar{}
		s.put(due("m", ""))
		var got *message.Message
		var origin *pipeline.Origin
		r := newRigWith(t, s, func(msg *message.Message) ([]*message.Message, error) {
			got, origin = msg.Copy(), pipeline.OriginOf(msg.Context())
			claim, _ := broker.ClaimOf(msg)
			if claim != nil {
				return nil, errors.New("no broker handed it out")
			}
			return pass(msg)
		}, nil)
		r.start(t)
		require.Eventually(t, func() bool { _, all := s.leased(); return len(all) == 0 }, soon, time.Millisecond)
		require.Equal(t, "m", got.UUID)
		require.Equal(t, `{"n":1}`, string(got.Payload))
		require.Equal(t, message.Metadata{"tenant": "t"}, got.Metadata)
		require.Equal(t, pipeline.Origin{Topic: "in", Group: "in.work", Partition: 3, Offset: 17}, *origin)
		require.Equal(t, []string{"m"}, s.closed, "a dead letter that it may have")
		require.Equal(t, 1.0, r.value(t, "waybill_retries_total", "delayed"))
		require.Equal(t, 1.0, r.value(t, "waybill_messages_processed_total", "ok"))
	})

	t.Run("a dead one says all its attempts, and is no longer delayed", func(t *testing.T) {
		t.Parallel()
		s := &cellar{}
		m := due("m", "")
		m.Replays = 2
		s.put(m)
		r := newRigWith(t, s, func(*message.Message) ([]*message.Message, error) { return nil, pipeline.Invalid("no") }, nil)
		r.start(t)
		require.Eventually(t, func() bool { _, all := s.leased(); return len(all) == 0 }, soon, time.Millisecond)
		letter := r.fake.on("in.work.dlq")[0].Metadata
		for key, want := range map[string]string{
			pipeline.MetaDeadAttempts: "5", pipeline.MetaDeadReplays: "2", pipeline.MetaDeadTopic: "in",
			pipeline.MetaDeadPartition: "3", pipeline.MetaDeadOffset: "17",
			pipeline.MetaDeadFirst: m.First.UTC().Format(time.RFC3339Nano),
		} {
			require.Equal(t, want, letter.Get(key), key)
		}
	})

	t.Run("a stop gives back at once what has not begun, and waits for what has", func(t *testing.T) {
		t.Parallel()
		s := &cellar{}
		s.put(due("m-1", ""), due("m-2", ""), due("m-3", ""))
		begun, finish := make(chan string, 3), make(chan struct{})
		r := newRigWith(t, s, func(msg *message.Message) ([]*message.Message, error) {
			begun <- msg.UUID
			<-finish
			return pass(msg)
		}, func(h *pipeline.Handler) { h.Concurrency = 1 })
		r.start(t)
		first := <-begun
		require.Eventually(t, func() bool { leased, _ := s.leased(); return len(leased) == 3 }, soon, time.Millisecond)
		stopped := make(chan error)
		go func() { stopped <- r.Stop(context.Background()) }()
		require.Eventually(t, func() bool { leased, _ := s.leased(); return len(leased) == 1 }, soon, time.Millisecond)
		close(finish)
		require.NoError(t, <-stopped)
		leased, all := s.leased()
		require.Empty(t, leased)
		require.Len(t, all, 2, "the first has ended")
		require.NotContains(t, all, first)
		require.Empty(t, begun, "nothing else ran")
		require.Equal(t, 4, s.rows[0].Attempts, "and no attempt was burnt")
	})

	t.Run("a stop that cuts it short gives it back as it was", func(t *testing.T) {
		t.Parallel()
		s := &cellar{}
		s.put(due("m", ""))
		begun := make(chan struct{})
		r := newRigWith(t, s, func(msg *message.Message) ([]*message.Message, error) {
			close(begun)
			<-msg.Context().Done()
			return nil, context.Cause(msg.Context())
		}, nil)
		r.start(t)
		<-begun
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
		defer cancel()
		require.ErrorContains(t, r.Stop(ctx), "in.work")
		leased, all := s.leased()
		require.Empty(t, leased)
		require.Equal(t, []string{"m"}, all)
		require.Equal(t, []int{4, 2}, []int{s.rows[0].Attempts, s.rows[0].Rounds})
		require.Empty(t, r.fake.on("in.work.dlq"))
	})

	t.Run("a store that is away is named, and what waits comes when it is back", func(t *testing.T) {
		t.Parallel()
		s := &cellar{down: store.ErrUnavailable}
		s.put(due("m", ""))
		r := newRigWith(t, s, pass, nil)
		r.start(t)
		require.Eventually(t, func() bool {
			return strings.Contains(strings.Join(r.State().Problems(), "\n"), "handler work: its delayed messages wait for the store: store unavailable")
		}, soon, time.Millisecond)
		s.set(nil)
		require.Eventually(t, func() bool { return len(r.fake.on("out")) == 1 }, soon, time.Millisecond)
		require.Eventually(t, func() bool { return len(r.State().Problems()) == 0 }, soon, time.Millisecond)
	})

	t.Run("what is not published as the store does not answer for its lease is published once it does", func(t *testing.T) {
		t.Parallel()
		s := &cellar{}
		s.put(due("m", ""))
		s.extend = func(store.Lease) error {
			s.extend = nil
			return store.ErrUnavailable
		}
		r := newRigWith(t, s, pass, nil)
		r.start(t)
		require.Eventually(t, func() bool { _, all := s.leased(); return len(all) == 0 }, soon, time.Millisecond)
		require.Len(t, r.fake.on("out"), 1)
	})

	t.Run("a store that does not answer for one lease costs the others nothing, nor the stop", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &silent{cellar: &cellar{}, extended: make(map[string]int)}
			s.silent.Store("m-1")
			s.put(due("m-1", ""), due("m-2", ""))
			finish := make(chan struct{})
			r := newRigWith(t, s, func(*message.Message) ([]*message.Message, error) {
				<-finish
				return nil, nil
			}, nil)
			r.start(t)
			time.Sleep(5 * leaseTTL) //nolint:forbidigo // of synctest's clock
			s.mu.Lock()
			extended := s.extended["m-2"]
			s.mu.Unlock()
			close(finish)
			require.Greater(t, extended, 5)
			stopAtOnce(t, r)
		})
	})

	t.Run("a store that does not answer what is due is asked again, and keeps no stop", func(t *testing.T) {
		t.Parallel()
		for _, call := range []string{"next", "lease"} {
			synctest.Test(t, func(t *testing.T) {
				s := &silent{cellar: &cellar{}, extended: make(map[string]int)}
				s.silent.Store(call)
				s.put(due("m", ""))
				r := newRigWith(t, s, pass, nil)
				r.start(t)
				require.Eventually(t, func() bool {
					return strings.Contains(strings.Join(r.State().Problems(), "\n"), "handler work: its delayed messages wait for the store")
				}, time.Minute, time.Millisecond)
				s.silent.Store("")
				require.Eventually(t, func() bool { return len(r.fake.on("out")) == 1 }, time.Minute, time.Millisecond)
				s.silent.Store(call)
				s.put(due("m-2", ""))
				time.Sleep(2 * inletPoll) //nolint:forbidigo // of synctest's clock: it asks now
				stopAtOnce(t, r)
			})
		}
	})

	t.Run("one whose lease was lost before its turn does not run here", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			s := &cellar{}
			s.put(due("m-1", ""), due("m-2", ""))
			begun, finish := make(chan string, 2), make(chan struct{})
			r := newRigWith(t, s, func(msg *message.Message) ([]*message.Message, error) {
				begun <- msg.UUID
				<-finish
				return nil, nil
			}, func(h *pipeline.Handler) { h.Concurrency = 1 })
			r.start(t)
			first := <-begun
			synctest.Wait()
			s.mu.Lock()
			for _, row := range s.rows {
				if row.Message != first {
					row.Token = "another's"
				}
			}
			s.mu.Unlock()
			time.Sleep(leaseTTL) //nolint:forbidigo // of synctest's clock
			close(finish)
			require.Eventually(t, func() bool { return r.value(t, "waybill_messages_processed_total", "void") == 1 }, time.Minute, time.Millisecond)
			require.Equal(t, 1.0, r.value(t, "waybill_messages_processed_total", "ok"))
			require.Empty(t, begun)
			require.NoError(t, r.Stop(t.Context()))
		})
	})

	for _, test := range []struct {
		name  string
		after time.Duration // that the lease is lost and the outputs are ready
		asked int
	}{
		{"nothing is published for one whose lease was lost", leaseNew, 1},
		{"a lease that is new is not asked for again", leaseNew - time.Millisecond, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				asked := 0
				s := &cellar{extend: func(l store.Lease) error {
					asked++
					return store.ErrStaleToken
				}}
				s.put(due("m", ""))
				r := newRigWith(t, s, func(msg *message.Message) ([]*message.Message, error) {
					time.Sleep(test.after) //nolint:forbidigo // of synctest's clock
					return pass(msg)
				}, nil)
				r.start(t)
				result := "ok"
				if test.asked > 0 {
					result = "void"
				}
				require.Eventually(t, func() bool { return r.value(t, "waybill_messages_processed_total", result) == 1 }, time.Minute, time.Millisecond)
				require.Equal(t, test.asked, asked)
				require.Len(t, r.fake.on("out"), 1-test.asked)
				require.Len(t, s.closed, 1-test.asked)
				require.NoError(t, r.Stop(t.Context()))
			})
		})
	}
}

// meanwhile is a store while which is asked something else happens.
type meanwhile struct {
	*cellar
	looked  func() // after HeldKeys has looked
	written func() // before Do writes
}

func (m *meanwhile) HeldKeys(ctx context.Context, handler string) ([]string, error) {
	keys, err := m.cellar.HeldKeys(ctx, handler)
	if m.looked != nil {
		m.looked()
	}
	return keys, err
}

func (m *meanwhile) Do(ctx context.Context, writes ...pipeline.Write) error {
	if m.written != nil {
		m.written()
	}
	return m.cellar.Do(ctx, writes...)
}

func TestOrder(t *testing.T) {
	t.Parallel()

	t.Run("keys that nothing holds cost the store one question a claim", func(t *testing.T) {
		t.Parallel()
		s := &cellar{}
		r := newRigWith(t, s, pass, byKey)
		r.start(t)
		const n = 50
		for i := range n {
			r.sendKey(fmt.Sprint(i), fmt.Sprint(i%7))
		}
		for range n {
			<-r.fake.acked
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Equal(t, []int{1, 0}, []int{s.loads, s.asked})
	})

	t.Run("what others have delayed is known with the first message, and forgotten when it has ended", func(t *testing.T) {
		t.Parallel()
		s := &cellar{}
		other := due("a-1", "a")
		other.Due = time.Now().Add(time.Hour) // or in another instance's hands
		s.put(other)
		r := newRigWith(t, s, pass, byKey)
		r.start(t)
		r.sendKey("a-2", "a")
		r.sendKey("b-1", "b")
		for range 2 {
			<-r.fake.acked
		}
		require.Len(t, r.fake.on("out"), 1, "of the other key")
		_, all := s.leased()
		require.Equal(t, []string{"a-1", "a-2"}, all)
		require.True(t, s.rows[1].First.IsZero(), "it has not failed")

		s.mu.Lock()
		s.rows = nil // others have ended them
		s.mu.Unlock()
		for _, id := range []string{"a-3", "a-4"} {
			r.sendKey(id, "a")
			<-r.fake.acked
		}
		require.Len(t, r.fake.on("out"), 3)
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Equal(t, 2, s.asked, "of a-2 and a-3: then the key is forgotten")
	})

	t.Run("a key that a replay takes while the store is asked is not forgotten", func(t *testing.T) {
		t.Parallel()
		o := &order{keys: make(map[string]uint64)}
		o.add("a")
		_, said := o.known(time.Now(), "a")
		o.add("a")
		o.forget("a", said)
		_, said = o.known(time.Now(), "a")
		require.NotZero(t, said)
		o.forget("a", said)
		_, said = o.known(time.Now(), "a")
		require.Zero(t, said)
	})

	t.Run("keys that nothing holds any more are not remembered for ever", func(t *testing.T) {
		t.Parallel()
		s := &cellar{}
		held := due("a-1", "a")
		held.Due = time.Now().Add(time.Hour)
		r := newRigWith(t, s, pass, byKey)
		r.start(t)
		r.sendKey("b-1", "b")
		<-r.fake.acked
		s.put(held)
		o := r.routes[0].order
		o.add("a")
		for i := range keysKept {
			o.add(fmt.Sprint(i))
		}
		for _, id := range []string{"b-2", "b-3"} {
			r.sendKey(id, "b")
			<-r.fake.acked
		}
		o.mu.RLock()
		defer o.mu.RUnlock()
		require.Equal(t, []string{"a"}, slices.Collect(maps.Keys(o.keys)))
		s.mu.Lock()
		defer s.mu.Unlock()
		require.Equal(t, []int{2, 0}, []int{s.loads, s.asked})
	})

	t.Run("what is delayed while the held keys are looked up is held, too", func(t *testing.T) {
		t.Parallel()
		s := &meanwhile{cellar: &cellar{}}
		o := &order{store: s, keys: make(map[string]uint64)}
		o.add("ended")
		_, ended := o.known(time.Now(), "ended")
		s.looked = func() { o.add("a"); o.add("ended") }
		require.NoError(t, o.load(t.Context(), time.Now()))
		o.forget("ended", ended)
		require.ElementsMatch(t, []string{"a", "ended"}, slices.Collect(maps.Keys(o.keys)))
	})

	t.Run("a dead message that holds its key does so though the held keys are looked up right before", func(t *testing.T) {
		t.Parallel()
		s := &meanwhile{cellar: &cellar{}}
		r := newRigWith(t, s, func(*message.Message) ([]*message.Message, error) { return nil, pipeline.Invalid("no") },
			func(h *pipeline.Handler) { byKey(h); h.HoldKey = true })
		s.written = sync.OnceFunc(func() { require.NoError(t, r.routes[0].order.load(t.Context(), time.Now())) })
		r.start(t)
		for _, id := range []string{"a-1", "a-2"} {
			r.sendKey(id, "a")
			<-r.fake.acked
		}
		require.Len(t, r.fake.on("in.work.dlq"), 1, "the other waits behind it")
	})

	t.Run("while the store is away nobody runs whose key may be held", func(t *testing.T) {
		t.Parallel()
		s := &cellar{down: store.ErrUnavailable}
		var runs atomic.Int32
		r := newRigWith(t, s, func(msg *message.Message) ([]*message.Message, error) {
			runs.Add(1)
			return pass(msg)
		}, byKey)
		r.start(t)
		r.sendKey("a-1", "a")
		require.Eventually(t, func() bool {
			return strings.Contains(fmt.Sprint(r.State().Problems()), "handler work is held: ask the store which keys are held: store unavailable")
		}, soon, time.Millisecond)
		require.Zero(t, runs.Load())
		s.set(nil)
		require.Equal(t, "a-1", <-r.fake.acked)
	})

	t.Run("messages that fail at random come out in the order of their keys", func(t *testing.T) {
		t.Parallel()
		const n, keys = 300, 5
		s := &cellar{}
		var mu sync.Mutex
		seen := make(map[string][]string)
		runs := make(map[string]int)
		r := newRigWith(t, s, func(msg *message.Message) ([]*message.Message, error) {
			key := msg.Metadata.Get(pipeline.MetaPartitionKey)
			mu.Lock()
			defer mu.Unlock()
			if runs[msg.UUID]++; len(msg.UUID)%2 == 0 && runs[msg.UUID] < 3 {
				return nil, errors.New("not yet")
			}
			seen[key] = append(seen[key], msg.UUID)
			return nil, nil
		}, byKey)
		r.start(t)
		var want [keys][]string
		for i := range n {
			id := fmt.Sprint(i)
			want[i%keys] = append(want[i%keys], id)
			r.sendKey(id, fmt.Sprint(i%keys))
			<-r.fake.acked
		}
		require.Eventually(t, func() bool { _, all := s.leased(); return len(all) == 0 }, soon, time.Millisecond)
		mu.Lock()
		defer mu.Unlock()
		for k := range keys {
			require.Equal(t, want[k], seen[fmt.Sprint(k)])
		}
	})
}
