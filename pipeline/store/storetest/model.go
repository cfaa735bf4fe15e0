package storetest

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// row is a delayed message in the model: a list in the order of puts.
type row struct {
	name, key string
	overtake  bool
	ready     time.Time
	due       time.Time
	token     string
	parked    bool
}

type queue struct {
	rows   []*row
	leases []store.Lease // every one that was ever given out
}

// leasable lists what must be given out now, in order.
func (q *queue) leasable(now time.Time) []string {
	var ready []*row
	for i, r := range q.rows {
		blocked := r.key != "" && !r.overtake && slices.ContainsFunc(q.rows[:i], func(o *row) bool { return o.key == r.key && !o.overtake })
		if !blocked && !r.parked && !r.ready.After(now) {
			ready = append(ready, r)
		}
	}
	slices.SortStableFunc(ready, func(a, b *row) int { return a.due.Compare(b.due) })
	var names []string
	for _, r := range ready {
		names = append(names, r.name)
	}
	return names
}

func (q *queue) find(name string) *row {
	for _, r := range q.rows {
		if r.name == name {
			return r
		}
	}
	return nil
}

// delayedModel leads delayed messages through random lives beside the model.
func delayedModel(t *testing.T, h Harness) {
	s, c := h.fresh(t)
	lives := 0
	rapid.Check(t, func(r *rapid.T) {
		lives++
		handler := fmt.Sprintf("h-%d", lives)
		q, puts := &queue{}, 0
		outcome := func(r *rapid.T, end func(store.Lease, *row)) {
			if len(q.leases) == 0 {
				return
			}
			l := rapid.SampledFrom(q.leases).Draw(r, "lease")
			end(l, q.find(l.Message))
		}
		r.Repeat(map[string]func(*rapid.T){
			"put": func(r *rapid.T) {
				puts++
				m := waiting(c, fmt.Sprint(puts), rapid.SampledFrom([]string{"", "a", "b"}).Draw(r, "key"), rapid.IntRange(0, 90).Draw(r, "seconds"))
				m.Handler, m.Overtake = handler, rapid.IntRange(0, 4).Draw(r, "overtake") == 0
				do(r, s, s.Delay(m))
				q.rows = append(q.rows, &row{name: m.Message, key: m.Key, overtake: m.Overtake, ready: m.Due, due: m.Due})
			},
			"wait": func(r *rapid.T) { c.add(time.Duration(rapid.IntRange(1, 60).Draw(r, "seconds")) * time.Second) },
			"lease": func(r *rapid.T) {
				want := q.leasable(c.Now())
				leases, err := s.LeaseDue(t.Context(), handler, store.MaxPage, ttl)
				require.NoError(r, err)
				require.Equal(r, want, names(leases))
				for _, l := range leases {
					row := q.find(l.Message)
					row.token, row.ready = l.Token, c.Now().Add(ttl)
				}
				q.leases = append(q.leases, leases...)
			},
			"end": func(r *rapid.T) {
				outcome(r, func(l store.Lease, row *row) {
					err := s.Do(t.Context(), s.EndDelayed(l))
					if row == nil || row.token != l.Token {
						require.ErrorIs(r, err, store.ErrStaleToken)
						return
					}
					require.NoError(r, err)
					q.remove(l.Message)
				})
			},
			"again": func(r *rapid.T) {
				outcome(r, func(l store.Lease, row *row) {
					l.Due = c.Now().Add(time.Duration(rapid.IntRange(0, 30).Draw(r, "seconds")) * time.Second)
					err := s.Do(t.Context(), s.DelayAgain(l))
					if row == nil || row.token != l.Token {
						require.ErrorIs(r, err, store.ErrStaleToken)
						return
					}
					require.NoError(r, err)
					row.token, row.due, row.ready = "", l.Due, l.Due
				})
			},
			"park": func(r *rapid.T) {
				outcome(r, func(l store.Lease, row *row) {
					l.Parked = true
					err := s.Do(t.Context(), s.DelayAgain(l))
					if row == nil || row.token != l.Token {
						require.ErrorIs(r, err, store.ErrStaleToken)
						return
					}
					require.NoError(r, err)
					row.token, row.parked = "", true
				})
			},
			"requeue": func(r *rapid.T) {
				outcome(r, func(l store.Lease, known *row) {
					l.Due = c.Now()
					err := s.Do(t.Context(), s.Requeue(l.DelayedMessage))
					if known != nil && !known.parked {
						require.ErrorIs(r, err, store.ErrConflict)
						return
					}
					require.NoError(r, err)
					switch {
					case known == nil:
						q.rows = append(q.rows, &row{name: l.Message, key: l.Key, overtake: l.Overtake, ready: l.Due, due: l.Due})
					case known.parked:
						known.parked, known.due, known.ready = false, l.Due, l.Due
					}
				})
			},
			"unpark": func(r *rapid.T) {
				outcome(r, func(l store.Lease, row *row) {
					do(r, s, s.Unpark(handler, l.Message))
					if row != nil && row.parked {
						q.remove(l.Message)
					}
				})
			},
			"extend": func(r *rapid.T) {
				outcome(r, func(l store.Lease, row *row) {
					err := s.ExtendLease(t.Context(), l, ttl)
					if row == nil || row.token != l.Token {
						require.ErrorIs(r, err, store.ErrStaleToken)
						return
					}
					require.NoError(r, err)
					row.ready = c.Now().Add(ttl)
				})
			},
		})
	})
}

func (q *queue) remove(name string) {
	q.rows = slices.DeleteFunc(q.rows, func(r *row) bool { return r.name == name })
}
