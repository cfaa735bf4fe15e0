package pipeline

import (
	"context"
	"sync"
	"time"
)

// Scope is the context of one piece of work: the handling of a message, one
// run of a kind, one publish. It ends with its parent, at its deadline, or by
// End. Unlike a context of the standard library it costs little until somebody
// asks for Done, which most work never does: it is over before anyone would
// wait for its end. Three contexts a message were an eighth of a busy
// process's CPU time.
//
// Scopes nest: whoever makes one of the context of another ends it before the
// other is ended. In return the inner one need not register with the outer.
// Between the two there may be any context of the standard library, but none
// of another's making that ends by itself: it would not be noticed.
//
// It is for any number of goroutines.
type Scope struct {
	parent   context.Context //nolint:containedctx // it is one
	deadline time.Time       // zero: none of its own
	origin   *Origin         // nil: its parent's

	mu    sync.Mutex
	inner context.Context //nolint:containedctx // made when Done is first asked for
	stop  context.CancelFunc
	ended bool
}

type scopeKey struct{}

// NewScope returns a scope within parent. After timeout, if that is more than
// 0, it ends by itself. End it when the work is done.
func NewScope(parent context.Context, timeout time.Duration) *Scope {
	s := &Scope{}
	s.Begin(parent, timeout, nil)
	return s
}

// Begin is NewScope for one that is part of something larger, which saves an
// object a message. origin, unless nil, is what OriginOf finds in it. Begin it
// once, before anything else.
func (s *Scope) Begin(parent context.Context, timeout time.Duration, origin *Origin) {
	s.parent, s.origin = parent, origin
	if timeout > 0 {
		s.deadline = time.Now().Add(timeout)
	}
}

// End ends the scope.
func (s *Scope) End() {
	s.mu.Lock()
	s.ended = true
	stop := s.stop
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// Deadline implements context.Context.
func (s *Scope) Deadline() (time.Time, bool) {
	outer, ok := s.parent.Deadline()
	if s.deadline.IsZero() || ok && outer.Before(s.deadline) {
		return outer, ok
	}
	return s.deadline, true
}

// Done implements context.Context.
func (s *Scope) Done() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.inner == nil {
		s.make()
	}
	return s.inner.Done()
}

func (s *Scope) make() {
	if deadline, ok := s.Deadline(); ok {
		s.inner, s.stop = context.WithDeadline(s.root(), deadline)
	} else {
		s.inner, s.stop = context.WithCancel(s.root())
	}
	if s.ended {
		s.stop()
	}
}

// root is the nearest context around the scope that is none, or that somebody
// waits for already. It is what the scope registers with, and has to be found
// there again when the scope ends, so nothing that happens later to a scope
// between the two may change what the root answers.
func (s *Scope) root() context.Context {
	outer, ok := s.parent.Value(scopeKey{}).(*Scope)
	if !ok || s.parent.Value(cancelKey) != outer.Value(cancelKey) { // something between the two ends by itself, or never
		return s.parent
	}
	outer.mu.Lock()
	defer outer.mu.Unlock()
	if outer.inner != nil || outer.ended {
		return s.parent
	}
	return outer.root()
}

// Err implements context.Context.
func (s *Scope) Err() error {
	s.mu.Lock()
	inner, ended := s.inner, s.ended
	s.mu.Unlock()
	switch {
	case inner != nil:
		return inner.Err()
	case ended:
		return context.Canceled
	case s.parent.Err() != nil:
		return s.parent.Err()
	case !s.deadline.IsZero() && !time.Now().Before(s.deadline):
		return context.DeadlineExceeded
	}
	return nil
}

// Value implements context.Context.
func (s *Scope) Value(key any) any {
	switch key {
	case scopeKey{}:
		return s
	case originKey:
		if s.origin != nil {
			return s.origin
		}
	case cancelKey:
		s.mu.Lock()
		inner := s.inner
		s.mu.Unlock()
		if inner != nil {
			return inner.Value(key)
		}
	}
	return s.parent.Value(key)
}

// cancelKey is what the standard library asks a context for to find the one
// of its own that it ends with. It is not exported, and so listened for. A
// library that asks otherwise would find nothing, and start a goroutine for
// each child of a scope.
var cancelKey = func() any {
	ended, end := context.WithCancel(context.Background())
	end()
	l := listener{Context: ended}
	_ = context.Cause(&l)
	return l.key
}()

// listener notes what it is asked for.
type listener struct {
	context.Context
	key any
}

func (l *listener) Value(key any) any {
	l.key = key
	return nil
}
