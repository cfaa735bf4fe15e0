package pipeline

import (
	"context"
	"sync"
	"sync/atomic"
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

	ended  atomic.Bool
	inner  atomic.Pointer[inner] // made when Done is first asked for
	making sync.Mutex            // held by whoever makes it
}

// inner is the context of the standard library that a scope stands for, once
// somebody waits for its end.
type inner struct {
	context.Context
	stop context.CancelFunc
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
	s.ended.Store(true)
	if in := s.inner.Load(); in != nil {
		in.stop()
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
	in := s.inner.Load()
	if in == nil {
		in = s.make()
	}
	return in.Done()
}

func (s *Scope) make() *inner {
	s.making.Lock()
	defer s.making.Unlock()
	if in := s.inner.Load(); in != nil {
		return in
	}
	in := &inner{}
	if deadline, ok := s.Deadline(); ok {
		in.Context, in.stop = context.WithDeadline(s.root(), deadline)
	} else {
		in.Context, in.stop = context.WithCancel(s.root())
	}
	s.inner.Store(in)
	if s.ended.Load() { // or else End finds it
		in.stop()
	}
	return in
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
	outer.making.Lock()
	defer outer.making.Unlock()
	if outer.inner.Load() != nil || outer.ended.Load() {
		return s.parent
	}
	return outer.root()
}

// Err implements context.Context.
func (s *Scope) Err() error {
	if in := s.inner.Load(); in != nil {
		if err := in.Err(); err != nil || !s.ended.Load() {
			return err
		}
	}
	switch {
	case s.ended.Load():
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
		if in := s.inner.Load(); in != nil {
			return in.Value(key)
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
