package engine

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// cellar is what a route needs of a store, in memory, so that a test can see
// what is asked of it and have it fail. The suite of storetest holds the real
// ones to what they promise.
type cellar struct {
	store.Store
	mu     sync.Mutex
	down   error
	rows   []*store.Lease // Token "": not leased
	tokens int
	loads  int // HeldKeys
	asked  int // Holds
	closed []string
	extend func(store.Lease) error // what ExtendLease fails with; nil: with nothing
}

func (s *cellar) Home() string { return "" }

func (s *cellar) Do(_ context.Context, writes ...pipeline.Write) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.down != nil {
		return s.down
	}
	for _, w := range writes {
		if err := w(nil); err != nil {
			return err
		}
	}
	return nil
}

func (s *cellar) put(messages ...store.DelayedMessage) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, m := range messages {
		m.Handler = "work"
		s.rows = append(s.rows, &store.Lease{DelayedMessage: m})
	}
}

func (s *cellar) set(down error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.down = down
}

// leased lists the ids of what is under lease, and of all that is there.
func (s *cellar) leased() (leased, all []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, r := range s.rows {
		all = append(all, r.Message)
		if r.Token != "" {
			leased = append(leased, r.Message)
		}
	}
	return leased, all
}

func (s *cellar) Delay(m store.DelayedMessage) pipeline.Write {
	return func(any) error {
		s.rows = append(s.rows, &store.Lease{DelayedMessage: m})
		return nil
	}
}

func (s *cellar) find(l store.Lease) (int, error) {
	i := slices.IndexFunc(s.rows, func(r *store.Lease) bool { return r.Message == l.Message && r.Token == l.Token && l.Token != "" })
	if i < 0 {
		return i, store.ErrStaleToken
	}
	return i, nil
}

func (s *cellar) EndDelayed(l store.Lease) pipeline.Write {
	return func(any) error {
		i, err := s.find(l)
		if err == nil {
			s.rows = slices.Delete(s.rows, i, i+1)
		}
		return err
	}
}

func (s *cellar) DelayAgain(l store.Lease) pipeline.Write {
	return func(any) error {
		i, err := s.find(l)
		if err == nil {
			s.rows[i] = &store.Lease{DelayedMessage: l.DelayedMessage}
		}
		return err
	}
}

func (s *cellar) CloseLetter(_, message string, _ int64) pipeline.Write {
	return func(any) error {
		s.closed = append(s.closed, message)
		return nil
	}
}

func (s *cellar) ExtendLease(_ context.Context, l store.Lease, _ time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.extend != nil {
		if err := s.extend(l); err != nil {
			return err
		}
	}
	_, err := s.find(l)
	return err
}

// first reports whether the row at i is the first of its key.
func (s *cellar) first(i int) bool {
	return s.rows[i].Key == "" || !slices.ContainsFunc(s.rows[:i], func(r *store.Lease) bool { return r.Key == s.rows[i].Key })
}

func (s *cellar) NextDue(context.Context, string) (at time.Time, ok bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.rows {
		if s.first(i) && !r.Parked && r.Token == "" && (!ok || r.Due.Before(at)) {
			at, ok = r.Due, true
		}
	}
	return at, ok, s.down
}

func (s *cellar) LeaseDue(_ context.Context, _ string, n int, _ time.Duration) (leases []store.Lease, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i, r := range s.rows {
		if len(leases) < n && s.first(i) && !r.Parked && r.Token == "" && !r.Due.After(time.Now()) {
			s.tokens++
			r.Token = fmt.Sprint(s.tokens)
			r.Leases++
			leases = append(leases, *r)
		}
	}
	return leases, s.down
}

func (s *cellar) HeldKeys(context.Context, string) (keys []string, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.loads++
	for _, r := range s.rows {
		keys = append(keys, r.Key)
	}
	return keys, s.down
}

func (s *cellar) Holds(_ context.Context, _, key string) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.asked++
	return slices.ContainsFunc(s.rows, func(r *store.Lease) bool { return r.Key == key }), s.down
}

func (s *cellar) CountDelayed(context.Context) (map[string]store.DelayedCount, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return map[string]store.DelayedCount{"work": {Waiting: int64(len(s.rows))}}, s.down
}

func (s *cellar) ExpireDocuments(context.Context, int) (int, error) { return 0, nil }
