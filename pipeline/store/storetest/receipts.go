package storetest

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func receipts(t *testing.T, h Harness) {
	key := store.ReceiptKey{Subject: "order-7\x00", Effect: "mail"}
	want := store.Reservation{ReceiptKey: key, Hash: "h1", Owner: "a"}

	t.Run("FreeReservedDone", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		r, err := s.Receipt(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, store.Receipt{ReceiptKey: key, State: store.Free}, r)

		r, err = s.Reserve(t.Context(), want)
		require.NoError(t, err)
		require.Equal(t, store.Free, r.State)
		second := want
		second.Owner = "b"
		r, err = s.Reserve(t.Context(), second)
		require.NoError(t, err)
		require.Equal(t, store.Reserved, r.State, "somebody began it")
		require.Equal(t, "a", r.Owner)
		require.Equal(t, c.Now(), r.Since)

		c.add(time.Minute)
		done := store.Receipt{
			ReceiptKey: key, Hash: "h1", Owner: "b", Outcome: "250 queued",
			Outputs: []store.Output{
				{Name: "audit", ID: "o1", Content: store.Content{Headers: map[string]string{"k": "\xff"}, Payload: []byte("\x00\xff{}")}},
				{ID: "o2", Content: store.Content{Headers: map[string]string{}, Payload: []byte{}}},
			},
		}
		do(t, s, s.FinishReceipt(done), s.FinishReceipt(done))
		r, err = s.Reserve(t.Context(), want)
		require.NoError(t, err)
		done.State, done.Since = store.Done, c.Now()
		require.Equal(t, done, r, "2-40 what is done is not done again")
		do(t, s, s.FreeReceipt(key, "b"))
		r, err = s.Receipt(t.Context(), key)
		require.NoError(t, err)
		require.Equal(t, store.Done, r.State, "what is done stays done")
	})

	t.Run("FreedByAFailure", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		_, err := s.Reserve(t.Context(), want)
		require.NoError(t, err)
		do(t, s, s.FreeReceipt(key, "a"), s.FreeReceipt(key, "a"))
		r, err := s.Reserve(t.Context(), want)
		require.NoError(t, err)
		require.Equal(t, store.Free, r.State, "a key never hides a message whose handler failed")
	})

	t.Run("OtherContentIsAConflict", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		do(t, s, s.FinishReceipt(store.Receipt{ReceiptKey: key, Hash: "h1", Outcome: "sent"}))
		other := want
		other.Hash = "h2"
		_, err := s.Reserve(t.Context(), other)
		require.ErrorIs(t, err, store.ErrConflict)
		require.Equal(t, pipeline.ReasonConflict, pipeline.ReasonOf(err))
		require.True(t, pipeline.IsPermanent(err))

		other.Edited = true
		r, err := s.Reserve(t.Context(), other)
		require.NoError(t, err)
		require.Equal(t, store.Done, r.State, "the edit of an order does not send its mail again")
		other.Edited = false
		r, err = s.Reserve(t.Context(), other)
		require.NoError(t, err)
		require.Equal(t, "h2", r.Hash, "the edited copy's hash is the one now")
		_, err = s.Reserve(t.Context(), want)
		require.ErrorIs(t, err, store.ErrConflict)
	})

	t.Run("AnotherOwnerIsLeftAlone", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		reserve := func(owner, hash string) store.Receipt {
			r, err := s.Reserve(t.Context(), store.Reservation{ReceiptKey: key, Hash: hash, Owner: owner, Lease: time.Minute})
			require.NoError(t, err)
			return r
		}
		require.Equal(t, store.Free, reserve("a", "h1").State)
		c.add(59 * time.Second)
		require.Equal(t, store.Busy, reserve("b", "h1").State)
		require.Equal(t, store.Busy, reserve("b", "h2").State, "whether it is a conflict is not known before the end")
		do(t, s, s.FreeReceipt(key, "b"))
		require.NoError(t, s.RenewReceipts(t.Context(), "a", key, store.ReceiptKey{Subject: "none"}))
		c.add(59 * time.Second)
		require.NoError(t, s.RenewReceipts(t.Context(), "b", key))
		require.Equal(t, store.Busy, reserve("b", "h1").State, "renewed by its owner, and freed by nobody else")
		c.add(time.Second)
		r := reserve("b", "h1")
		require.Equal(t, store.Reserved, r.State, "the lease has ended")
		require.Equal(t, "a", r.Owner)
		require.Equal(t, store.Busy, reserve("a", "h1").State, "with a lease of its own")
		require.Equal(t, store.Reserved, reserve("b", "h1").State, "the owner himself need not wait")
		do(t, s, s.FreeReceipt(key, "a"))
		require.Equal(t, store.Busy, reserve("a", "h1").State, "who lost it cannot free it")
	})

	t.Run("OneOfManyTakesOver", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		_, err := s.Reserve(t.Context(), want)
		require.NoError(t, err)
		c.add(time.Hour)
		var mine atomic.Int32
		var wg sync.WaitGroup
		for i := range 16 {
			wg.Go(func() {
				r, err := s.Reserve(t.Context(), store.Reservation{
					ReceiptKey: key, Hash: want.Hash, Owner: fmt.Sprintf("other %d", i), Lease: time.Minute,
				})
				if err != nil {
					t.Error(err)
				} else if r.State == store.Reserved {
					mine.Add(1)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int32(1), mine.Load())
	})

	t.Run("OneOfManyBegins", func(t *testing.T) {
		t.Parallel()
		s, _ := h.fresh(t)
		var free atomic.Int32
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				r, err := s.Reserve(t.Context(), want)
				if err != nil {
					t.Error(err)
				} else if r.State == store.Free {
					free.Add(1)
				}
			})
		}
		wg.Wait()
		require.Equal(t, int32(1), free.Load())
	})

	t.Run("Expire", func(t *testing.T) {
		t.Parallel()
		s, c := h.fresh(t)
		for _, effect := range []string{"a", "b", "c"} {
			do(t, s, s.FinishReceipt(store.Receipt{ReceiptKey: store.ReceiptKey{Subject: "1", Effect: effect}}))
		}
		c.add(time.Hour)
		do(t, s, s.FinishReceipt(store.Receipt{ReceiptKey: store.ReceiptKey{Subject: "1", Effect: "d"}}))
		for _, want := range []int{2, 1, 0} {
			n, err := s.ExpireReceipts(t.Context(), c.Now(), 2)
			require.NoError(t, err)
			require.Equal(t, want, n)
		}
		r, err := s.Receipt(t.Context(), store.ReceiptKey{Subject: "1", Effect: "d"})
		require.NoError(t, err)
		require.Equal(t, store.Done, r.State)
	})
}
