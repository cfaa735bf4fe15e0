package replay

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func TestReplay(t *testing.T) {
	t.Parallel()

	inBubble(t, "all are sent in order, once, with what says where they come from", func(t *testing.T, st *stand) {
		st.bury(2*batch + 10)
		run := st.begin(store.ReplayOptions{})
		st.run(20 * time.Second)
		st.requireOnce(t, 2*batch+10)
		got := st.replay(run.ID)
		require.Equal(t, store.ReplayDone, got.State)
		require.Equal(t, int64(2*batch+10), got.Completed)
		m := st.handled[7]
		require.Equal(t, fmt.Sprintf(`{"n": %d}`, m.Offset), string(m.Payload))
		require.Equal(t, map[string]string{"id": m.Message, "replayid": "1", "replayletter": "8", "dlreplays": "1"}, m.Headers)
		require.Equal(t, 1, m.Replays)
		require.False(t, m.Overtake, "later messages of its key wait")
		require.Equal(t, "orders-in", m.Topic)
		require.Equal(t, int32(1), m.Partition)
		audit, err := st.store.AuditEntries(t.Context(), store.AuditQuery{})
		require.NoError(t, err)
		require.Equal(t, "ada", audit.Entries[0].Actor)
		require.Equal(t, "it is up", audit.Entries[0].Why)
		require.Equal(t, 2*batch+10, audit.Entries[0].Count)
	})

	inBubble(t, "a letter that died of a later message is sent though an earlier replay of it still waits", func(t *testing.T, st *stand) {
		st.bury(1)
		st.begin(store.ReplayOptions{})
		st.runner.Start()
		time.Sleep(time.Second) //nolint:forbidigo // inside testing/synctest
		st.runner.Stop()
		st.runner = st.newRunner(st.store)
		again := dead(0)
		again.Copy, again.Payload = "second", []byte("later")
		require.NoError(t, st.store.Do(t.Context(), st.store.Bury(again)))
		st.begin(store.ReplayOptions{})
		st.run(20 * time.Second)
		require.Len(t, st.handled, 2)
		require.Equal(t, "later", string(st.handled[1].Payload))
	})

	inBubble(t, "at a rate", func(t *testing.T, st *stand) {
		st.bury(100)
		run := st.begin(store.ReplayOptions{Rate: 20})
		st.run(3 * time.Second)
		require.InDelta(t, 62, len(st.ids()), 4)
		st.run(10 * time.Second)
		st.requireOnce(t, 100)
		require.Equal(t, store.ReplayDone, st.replay(run.ID).State)
	})

	inBubble(t, "slower than the lease lasts", func(t *testing.T, st *stand) {
		st.bury(3)
		run := st.begin(store.ReplayOptions{Rate: 0.05})
		st.run(45 * time.Second)
		st.requireOnce(t, 3)
		require.InDelta(t, 20, st.at[1].Sub(st.at[0]).Seconds(), 0.5)
		require.Equal(t, store.ReplayDone, st.replay(run.ID).State)
	})

	inBubble(t, "in growing batches, the outcomes of one before the next", func(t *testing.T, st *stand) {
		st.bury(60)
		st.begin(store.ReplayOptions{Ramp: []int{1, 5, 20}})
		st.run(30 * time.Second)
		st.requireOnce(t, 60)
		// In the time between two batches nothing is handled.
		sizes, last := []int{}, time.Time{}
		for _, at := range st.at {
			if at.Sub(last) >= followSoon/2 {
				sizes = append(sizes, 0)
			}
			sizes[len(sizes)-1]++
			last = at
		}
		require.Equal(t, []int{1, 5, 20, 34}, sizes, "then the rest")
	})

	inBubble(t, "it pauses after so many failures, and resumes", func(t *testing.T, st *stand) {
		st.bury(100)
		st.die = func(id string) bool { return id < name(6) }
		run := st.begin(store.ReplayOptions{Ramp: []int{1, 1, 1, 1, 1, 10}, StopAfter: 3})
		st.run(30 * time.Second)
		got := st.replay(run.ID)
		require.Equal(t, store.ReplayPaused, got.State)
		require.Equal(t, int64(3), got.Dead)
		require.Equal(t, int64(97), got.Pending)
		require.Contains(t, got.Problem, "3 letters died again")
		_, err := st.runner.Resume(t.Context(), run.ID, "ada", "")
		require.NoError(t, err)
		st.run(30 * time.Second)
		got = st.replay(run.ID)
		require.Equal(t, int64(6), got.Dead, "three more")
		require.Equal(t, store.ReplayPaused, got.State)
		require.Equal(t, int64(85), got.Pending)
		_, err = st.runner.Resume(t.Context(), run.ID, "ada", "")
		require.NoError(t, err)
		st.run(30 * time.Second)
		require.Equal(t, store.ReplayDone, st.replay(run.ID).State)
		st.requireOnce(t, 100)
	})

	inBubble(t, "paused, resumed and cancelled by a person", func(t *testing.T, st *stand) {
		st.bury(100)
		run := st.begin(store.ReplayOptions{Rate: 10})
		st.run(2 * time.Second)
		_, err := st.runner.Pause(t.Context(), run.ID, "ada", "lunch")
		require.NoError(t, err)
		_, err = st.runner.Pause(t.Context(), run.ID, "ada", "lunch")
		require.ErrorIs(t, err, store.ErrConflict)
		n := len(st.ids())
		st.run(10 * time.Second)
		require.Len(t, st.ids(), n, "nothing goes while it is paused")
		_, err = st.runner.Resume(t.Context(), run.ID, "ada", "")
		require.NoError(t, err)
		st.run(2 * time.Second)
		require.Greater(t, len(st.ids()), n)
		_, err = st.runner.Cancel(t.Context(), run.ID, "ada", "")
		require.NoError(t, err)
		st.run(2 * time.Second)
		got := st.replay(run.ID)
		require.Equal(t, store.ReplayCancelled, got.State)
		require.Equal(t, int64(len(st.ids())), got.Completed)
		left, err := st.store.CountLetters(t.Context(), store.Is(store.FieldState, string(store.Dead)))
		require.NoError(t, err)
		require.Equal(t, got.Pending, left, "what was not sent is dead as before")
		audit, err := st.store.AuditEntries(t.Context(), store.AuditQuery{})
		require.NoError(t, err)
		var actions []string
		for _, e := range audit.Entries {
			actions = append(actions, e.Action)
		}
		require.Equal(t, []string{"replay_cancel", "replay_resume", "replay_pause", "replay"}, actions)
	})

	inBubble(t, "what died later, or changed, is not sent", func(t *testing.T, st *stand) {
		st.bury(5)
		parked := dead(5)
		parked.Parked = true
		require.NoError(t, st.store.Do(t.Context(), st.store.Bury(parked)))
		run := st.begin(store.ReplayOptions{})
		st.runner = st.newRunner(st.store) // not started yet: things happen before
		again := dead(6)
		_, err := st.store.EditLetter(t.Context(), 1, 1, store.Content{Payload: []byte("edited")})
		require.NoError(t, err)
		require.NoError(t, st.store.Do(t.Context(), st.store.Bury(again),
			st.store.MoveLetter(store.Move{ID: 2, To: store.Archived, Expires: time.Now()}), st.store.CloseLetter("work", name(2), 0),
			st.store.MoveLetter(store.Move{ID: 4, To: store.Archived})))
		_, err = st.store.ExpireLetters(t.Context(), store.Expiry{Now: time.Now()})
		require.NoError(t, err)
		st.run(5 * time.Second)
		require.Equal(t, []string{name(4)}, st.ids())
		var why []string
		for _, i := range st.items(run.ID) {
			why = append(why, i.Why)
		}
		require.Equal(t, []string{
			"it has changed since it was selected", "it is gone", "it is not dead any more: COMPLETED", "it is not dead any more: ARCHIVED", "",
			"it is parked: name it by its id to replay it all the same",
		}, why)
		require.Equal(t, store.ReplayDone, st.replay(run.ID).State)

		named, err := st.store.Select(t.Context(), store.Selection{Named: []int64{6}})
		require.NoError(t, err)
		_, err = st.runner.Begin(t.Context(), store.Replay{Selection: named.ID, By: "ada"})
		require.NoError(t, err)
		st.run(5 * time.Second)
		require.Equal(t, []string{name(4), name(5)}, st.ids(), "a parked one that was asked for by its id")
	})

	inBubble(t, "of which another copy waits goes beside it, with its edit", func(t *testing.T, st *stand) {
		st.bury(4)
		copied := dead(2)
		require.NoError(t, st.store.Do(t.Context(), st.store.Delay(store.DelayedMessage{
			Handler: "work", Message: copied.Message, Content: copied.Content, Due: time.Now().Add(time.Hour),
		})))
		_, err := st.store.EditLetter(t.Context(), 3, 1, store.Content{Payload: []byte("edited")})
		require.NoError(t, err)
		run := st.begin(store.ReplayOptions{})
		st.run(2 * time.Second)
		require.Equal(t, []string{name(0), name(1), name(2), name(3)}, st.ids())
		require.Equal(t, store.ReplayDone, st.replay(run.ID).State)
		waits, err := st.store.DelayedMessages(t.Context(), "work", 0, 10)
		require.NoError(t, err)
		require.Len(t, waits, 1, "the other copy waits on")
		require.Equal(t, copied.Payload, waits[0].Payload)
	})

	inBubble(t, "one that the store cannot take is skipped, and the others go", func(t *testing.T, st *stand) {
		st.bury(7)
		run := st.begin(store.ReplayOptions{})
		st.runner = st.newRunner(picky{st.store, name(2)})
		st.run(2 * time.Second)
		require.NotContains(t, st.ids(), name(2))
		require.Len(t, st.ids(), 6)
		require.Contains(t, st.items(run.ID)[2].Why, "key too long")
		got := st.replay(run.ID)
		require.Equal(t, store.ReplayDone, got.State)
		require.Equal(t, int64(1), got.Skipped)
	})

	inBubble(t, "why it does not go on is told, until it does", func(t *testing.T, st *stand) {
		st.bury(2)
		st.refuse = func(*message.Message) error { return errors.New("broker is away") }
		run := st.begin(store.ReplayOptions{Redirect: "other"})
		st.run(5 * time.Second)
		got := st.replay(run.ID)
		require.Equal(t, store.ReplayRunning, got.State)
		require.Contains(t, got.Problem, "broker is away")
		st.refuse = nil
		st.run(5 * time.Second)
		got = st.replay(run.ID)
		require.Equal(t, store.ReplayDone, got.State)
		require.Empty(t, got.Problem)
	})

	t.Run("due at once by the store's clock, which may be behind", func(t *testing.T) {
		t.Parallel()
		synctest.Test(t, func(t *testing.T) {
			st := newStandAt(t, func() time.Time { return time.Now().Add(-time.Hour) })
			st.bury(2)
			st.begin(store.ReplayOptions{})
			st.run(2 * time.Second)
			require.Len(t, st.ids(), 2)
		})
	})

	inBubble(t, "a transform edits each letter and keeps the original", func(t *testing.T, st *stand) {
		st.bury(3)
		st.die = func(string) bool { return true }
		run := st.begin(store.ReplayOptions{Transform: "fail:" + name(1)})
		changes, err := st.runner.Preview(t.Context(), run.Selection, "fail:"+name(1), 2)
		require.NoError(t, err)
		require.Len(t, changes, 2)
		require.Equal(t, `{"n": 0}`, string(changes[0].Before.Payload))
		require.Equal(t, `{"N": 0}`, string(changes[0].After.Payload))
		require.ErrorContains(t, changes[1].Err, "no such member")
		st.run(10 * time.Second)
		require.Equal(t, []string{name(0), name(2)}, st.ids())
		require.Equal(t, `{"N": 0}`, string(st.handled[0].Payload))
		require.Equal(t, name(0), st.handled[0].Headers[pipeline.MetaEditOf])
		require.Equal(t, name(0), st.handled[0].Message, "the id stays")
		require.Contains(t, st.items(run.ID)[1].Why, "no such member")
		original, err := st.store.Original(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, dead(0).Content, original)
		l, err := st.store.Letter(t.Context(), 1)
		require.NoError(t, err)
		require.Equal(t, store.Content{Headers: dead(0).Headers, Payload: []byte(`{"N": 0}`)}, l.Content)
		_, err = st.runner.Preview(t.Context(), run.Selection, "nonsense", 2)
		require.ErrorIs(t, err, store.ErrInvalid)
	})

	inBubble(t, "to another topic, with confirms, then closed", func(t *testing.T, st *stand) {
		st.bury(4)
		down := true
		st.refuse = func(msg *message.Message) error {
			switch {
			case msg.UUID == name(1):
				return pipeline.Permanent(errors.New("too large"))
			case msg.UUID == name(2) && down:
				down = false
				return errors.New("away")
			}
			return nil
		}
		run := st.begin(store.ReplayOptions{Redirect: "other", Transform: "upper"})
		st.run(500 * time.Millisecond)
		l, err := st.store.Letter(t.Context(), 3)
		require.NoError(t, err)
		want := dead(2)
		require.Equal(t, want.Content, l.Content, "an edit whose publish failed changed nothing")
		require.Equal(t, store.Dead, l.State)
		require.Equal(t, int64(1), st.replay(run.ID).Completed)
		st.run(5 * time.Second)
		got := st.replay(run.ID)
		require.Equal(t, store.ReplayDone, got.State)
		require.Equal(t, int64(3), got.Completed)
		require.Contains(t, st.items(run.ID)[1].Why, "too large")
		require.Empty(t, st.ids(), "no handler saw it")
		var sent []string
		for _, msg := range st.published["other"] {
			sent = append(sent, msg.UUID)
		}
		require.Equal(t, []string{name(0), name(2), name(3)}, sent, "in order, and none of them again")
		require.Equal(t, `{"N": 0}`, string(st.published["other"][0].Payload))
		require.Equal(t, message.Metadata{"id": name(0), "replayid": "1", pipeline.MetaEditOf: name(0)}, st.published["other"][0].Metadata,
			"how often it was replayed counts for its own handler, not for those of the topic")
		l, err = st.store.Letter(t.Context(), 3)
		require.NoError(t, err)
		require.Equal(t, store.Completed, l.State)
	})

	inBubble(t, "to another topic, what is published is noted whatever happens meanwhile", func(t *testing.T, st *stand) {
		st.bury(4)
		run := st.begin(store.ReplayOptions{Redirect: "other"})
		st.refuse = func(msg *message.Message) error {
			switch msg.UUID {
			case name(1): // it is being published, and somebody edits it
				_, err := st.store.EditLetter(t.Context(), 2, 1, store.Content{Payload: []byte("edited")})
				require.NoError(t, err)
			case name(2):
				_, err := st.runner.Cancel(t.Context(), run.ID, "ada", "")
				require.NoError(t, err)
			}
			return nil
		}
		st.run(2 * time.Second)
		got := st.replay(run.ID)
		require.Equal(t, store.ReplayCancelled, got.State)
		require.Len(t, st.published["other"], int(got.Completed), "each once")
		require.Equal(t, int64(4), got.Completed+got.Pending)
		for _, i := range st.items(run.ID) {
			l, err := st.store.Letter(t.Context(), i.Letter)
			require.NoError(t, err)
			closed := i.State == store.ItemCompleted && i.Place != 2
			require.Equal(t, closed, l.State == store.Completed, "letter %d", i.Letter)
		}
		require.Contains(t, st.items(run.ID)[1].Why, "it stays as it is", "the edit was not published")
	})

	inBubble(t, "to another topic, an orderly stop repeats nothing", func(t *testing.T, st *stand) {
		st.bury(4)
		run := st.begin(store.ReplayOptions{Redirect: "other"})
		var stop sync.WaitGroup
		st.refuse = func(msg *message.Message) error {
			if msg.UUID == name(1) {
				stop.Go(st.runner.Stop)
				time.Sleep(time.Millisecond) //nolint:forbidigo // inside testing/synctest
			}
			return nil
		}
		st.run(time.Second)
		stop.Wait()
		st.refuse = nil
		st.run(2 * time.Second)
		require.Equal(t, store.ReplayDone, st.replay(run.ID).State)
		require.Len(t, st.published["other"], 4)
	})

	inBubble(t, "a letter of nobody goes to the topic where it was read", func(t *testing.T, st *stand) {
		foreign, lost := dead(1), dead(2)
		foreign.Handler, lost.Handler, lost.Topic = "theirs", "theirs", "nowhere"
		require.NoError(t, st.store.Do(t.Context(), st.store.Bury(foreign), st.store.Bury(lost)))
		run := st.begin(store.ReplayOptions{})
		st.run(2 * time.Second)
		require.Len(t, st.published["orders-in"], 1)
		why := st.items(run.ID)[0].Why // of "nowhere", which sorts first
		require.Contains(t, why, `topic "nowhere"`)
	})

	inBubble(t, "on an unordered handler nothing waits, and equal messages are not merged", func(t *testing.T, st *stand) {
		for i := range 2 {
			l := dead(1)
			l.Handler, l.Copy = "unordered", fmt.Sprint(i)
			l.Headers = map[string]string{pipeline.MetaIDSource: pipeline.IDSourceContent}
			require.NoError(t, st.store.Do(t.Context(), st.store.Bury(l)))
		}
		st.begin(store.ReplayOptions{})
		st.run(2 * time.Second)
		require.Len(t, st.ids(), 2)
		require.Empty(t, st.handled[0].Key)
	})

	inBubble(t, "what makes no sense is refused", func(t *testing.T, st *stand) {
		for _, o := range []store.ReplayOptions{
			{Rate: -1}, {StopAfter: -1}, {Ramp: []int{1, 0}}, {Redirect: "nowhere"}, {Transform: "nonsense"},
		} {
			_, err := st.runner.Begin(t.Context(), store.Replay{Selection: st.sel(store.Filter{}).ID, Options: o, By: "ada"})
			require.ErrorIs(t, err, store.ErrInvalid)
		}
		_, err := st.runner.Begin(t.Context(), store.Replay{Selection: 999, By: "ada"})
		require.ErrorIs(t, err, store.ErrNotFound)
	})
}

func TestRoom(t *testing.T) {
	t.Parallel()
	for what, c := range map[string]struct {
		run  store.Replay
		room int
	}{
		"a batch":                 {store.Replay{Count: 1000, Pending: 1000}, batch},
		"what is left":            {store.Replay{Count: 1000, Pending: 3}, 3},
		"the window":              {store.Replay{Count: 9000, Pending: 4000, Sent: window - 2}, 2},
		"the first of a ramp":     {store.Replay{Count: 9, Pending: 9, Options: store.ReplayOptions{Ramp: []int{2, 3}}}, 2},
		"within a batch of it":    {store.Replay{Count: 9, Pending: 6, Sent: 1, Options: store.ReplayOptions{Ramp: []int{2, 3}}}, 2},
		"not before the outcomes": {store.Replay{Count: 9, Pending: 7, Sent: 1, Options: store.ReplayOptions{Ramp: []int{2, 3}}}, 0},
		"the second":              {store.Replay{Count: 9, Pending: 7, Options: store.ReplayOptions{Ramp: []int{2, 3}}}, 3},
		"the last's outcomes":     {store.Replay{Count: 9, Pending: 4, Sent: 2, Options: store.ReplayOptions{Ramp: []int{2, 3}}}, 0},
		"then the rest":           {store.Replay{Count: 9, Pending: 4, Options: store.ReplayOptions{Ramp: []int{2, 3}}}, 4},
		"and on":                  {store.Replay{Count: 9, Pending: 2, Sent: 2, Options: store.ReplayOptions{Ramp: []int{2, 3}}}, 2},
	} {
		t.Run(strings.ReplaceAll(what, " ", "_"), func(t *testing.T) {
			t.Parallel()
			r := run{lease: store.ReplayLease{Replay: c.run}}
			require.Equal(t, c.room, r.room())
		})
	}
}
