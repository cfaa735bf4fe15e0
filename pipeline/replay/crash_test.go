package replay

import (
	"context"
	"errors"
	"math/rand/v2"
	"strconv"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

var errCrash = errors.New("the process was killed")

// dying is a store as a process has it that is killed at its n-th change of
// it, before or after the change happened. From then on nothing reaches the
// store, also what a stop would tidy up.
type dying struct {
	store.Store
	left  atomic.Int64
	after bool
}

func (d *dying) change(do func() error) error {
	left := d.left.Add(-1)
	switch {
	case left < 0:
		return errCrash
	case left > 0:
		return do()
	case d.after:
		if err := do(); err != nil {
			return err
		}
	}
	return errCrash
}

func (d *dying) dead() bool { return d.left.Load() <= 0 }

func (d *dying) Do(ctx context.Context, writes ...pipeline.Write) error {
	return d.change(func() error { return d.Store.Do(ctx, writes...) })
}

func (d *dying) LeaseReplay(ctx context.Context, ttl time.Duration) (l store.ReplayLease, ok bool, err error) {
	err = d.change(func() error { l, ok, err = d.Store.LeaseReplay(ctx, ttl); return err })
	return l, ok && err == nil, err
}

func (d *dying) FollowReplay(ctx context.Context, l store.ReplayLease, ttl time.Duration) (run store.Replay, err error) {
	err = d.change(func() error { run, err = d.Store.FollowReplay(ctx, l, ttl); return err })
	return run, err
}

func (d *dying) MoveReplay(ctx context.Context, m store.ReplayMove, with ...pipeline.Write) (run store.Replay, err error) {
	err = d.change(func() error { run, err = d.Store.MoveReplay(ctx, m, with...); return err })
	return run, err
}

func (d *dying) ReleaseReplay(ctx context.Context, l store.ReplayLease) error {
	return d.change(func() error { return d.Store.ReleaseReplay(ctx, l) })
}

// TestCrash kills the process at each of its changes of the store in turn.
// Another goes on: each letter is sent once, in the order of its key.
func TestCrash(t *testing.T) {
	t.Parallel()
	for _, after := range []bool{false, true} {
		t.Run(map[bool]string{false: "before the change", true: "after the change"}[after], func(t *testing.T) {
			t.Parallel()
			at := int64(0)
			for survived := false; !survived; {
				at++
				synctest.Test(t, func(t *testing.T) { survived = crash(t, at, after) })
			}
			require.Greater(t, at, int64(8), "killed at so few places")
		})
	}
}

// crash kills a process at one of its changes of the store, has another do
// the rest, and reports whether the first was not killed at all.
func crash(t *testing.T, at int64, after bool) (survived bool) {
	const letters = 12
	st := newStand(t)
	st.bury(letters)
	id := st.begin(store.ReplayOptions{Ramp: []int{1, 2, 4}, Transform: "upper"}).ID
	first := &dying{Store: st.store, after: after}
	first.left.Store(at)
	st.runner = st.newRunner(first)
	st.run(3 * time.Second)
	survived = !first.dead()
	took := time.Now()
	for st.replay(id).State != store.ReplayDone {
		st.run(time.Second)
		require.Less(t, time.Since(took), leaseTime+5*time.Second, "change %d: the next one goes on when the lease has run out", at)
	}
	st.requireDone(t, id, letters)
	return survived
}

// requireDone requires that all letters were sent once and are completed, and
// that the replay knows.
func (st *stand) requireDone(t require.TestingT, id int64, n int) {
	st.requireOnce(t, n)
	got := st.replay(id)
	require.Equal(t, store.ReplayDone, got.State)
	require.Equal(t, int64(n), got.Completed+got.Dead)
	for _, i := range st.items(id) {
		l, err := st.store.Letter(context.Background(), i.Letter)
		require.NoError(t, err)
		require.Equal(t, 1, l.Replays)
		want := store.Completed
		if i.State == store.ItemDead {
			want = store.Dead
		}
		require.Equal(t, want, l.State)
	}
}

// TestCrashes leads replays through random lives: instances that come, two at
// a time, and are killed, and a person who pauses and resumes.
func TestCrashes(t *testing.T) {
	t.Parallel()
	for range 12 {
		seed := rand.Uint64() //nolint:gosec // chaos, not secrets
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { live(t, rand.New(rand.NewPCG(seed, 0))) }) //nolint:gosec // likewise
		})
	}
}

func live(t *testing.T, r *rand.Rand) {
	st := newStand(t)
	n := 1 + r.IntN(40)
	st.bury(n)
	unlucky := name(r.IntN(2 * n))
	st.die = func(id string) bool { return id == unlucky }
	ramp := make([]int, r.IntN(4))
	for i := range ramp {
		ramp[i] = 1 + r.IntN(10)
	}
	id := st.begin(store.ReplayOptions{Rate: []float64{0, 5, 50}[r.IntN(3)], Ramp: ramp}).ID
	for range r.IntN(5) {
		other := &dying{Store: st.store, after: r.IntN(2) == 0}
		other.left.Store(1 + r.Int64N(20))
		runner := st.newRunner(other)
		runner.Start()
		st.run(time.Duration(1+r.IntN(1000)) * time.Millisecond)
		runner.Stop()
		if r.IntN(2) == 0 {
			st.pauseAndResume(t, id)
		}
	}
	for i := 0; st.replay(id).State != store.ReplayDone; i++ {
		st.run(5 * time.Second)
		require.Less(t, i, 10, "it does not end")
	}
	st.requireDone(t, id, n)
}

func (st *stand) pauseAndResume(t *testing.T, id int64) {
	if st.replay(id).State != store.ReplayRunning {
		return
	}
	_, err := st.runner.Pause(t.Context(), id, "ada", "")
	require.NoError(t, err)
	n := len(st.ids())
	under := st.replay(id).Sent
	st.run(time.Second)
	require.LessOrEqual(t, int64(len(st.ids())-n), under, "sent while it was paused")
	_, err = st.runner.Resume(t.Context(), id, "ada", "")
	require.NoError(t, err)
}
