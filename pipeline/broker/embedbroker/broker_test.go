package embedbroker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
)

var testTopic = pipeline.Topic{Name: "orders", Provision: pipeline.ProvisionCreate}

func testSub(handler string) broker.Subscription {
	return broker.Subscription{
		Name: "orders." + handler, Handler: handler, Topic: testTopic,
		Ordering: pipeline.OrderingNone, Concurrency: 8, InFlight: 64,
	}
}

// openTest opens a broker on the path that knows every topic.
func openTest(t testing.TB, path string) *embedBroker {
	t.Helper()
	b := openAt(t, path, broker.Options{
		Topic: func(name string) (pipeline.Topic, bool) { return pipeline.Topic{Name: name}, true },
		Log:   slog.New(slog.DiscardHandler),
	})
	t.Cleanup(func() { _ = b.Close() })
	return b.(*embedBroker)
}

func newTest(t testing.TB) *embedBroker { return openTest(t, filepath.Join(t.TempDir(), "waybill.db")) }

func provision(t testing.TB, b broker.Broker, subs ...broker.Subscription) {
	t.Helper()
	require.NoError(t, b.Provision(t.Context(), []pipeline.Topic{testTopic}, subs))
}

func publish(t testing.TB, b broker.Broker, from, to int) {
	t.Helper()
	var msgs []*message.Message
	for n := from; n < to; n++ {
		msgs = append(msgs, message.NewMessage(fmt.Sprint(n), []byte(strings.Repeat("x", 100))))
	}
	require.NoError(t, b.Publisher().Publish(testTopic.Name, msgs...))
}

// stored lists the ids of the messages that are in the topic.
func listed(t testing.TB, b broker.Broker, topic string) []string {
	t.Helper()
	ids := []string{}
	require.NoError(t, b.Tail(t.Context(), pipeline.Topic{Name: topic}, broker.TailOptions{Oldest: true}, func(msg *message.Message) error {
		ids = append(ids, msg.UUID)
		return nil
	}))
	return ids
}

// consume acks n messages and drains.
func consume(t testing.TB, b broker.Broker, sub broker.Subscription, n int) {
	t.Helper()
	s := broker.NewSubscriber(sub, b.Source(sub), slog.New(slog.DiscardHandler))
	messages, err := s.Subscribe(context.Background(), sub.Topic.Name)
	require.NoError(t, err)
	for range n {
		(<-messages).Ack()
	}
	require.NoError(t, s.Drain(t.Context()))
}

func TestOpen_RefusesAFileThatCannotBe(t *testing.T) {
	t.Parallel()
	_, err := Open(pipeline.Broker{Path: filepath.Join(t.TempDir(), "missing", "x.db")}, broker.Options{})
	require.Error(t, err)
}

// TestCommit_OfAFormerReader: a handler that commits after its subscription
// was closed and has a new reader is refused, and takes nothing back of what
// the new one has done.
func TestCommit_OfAFormerReader(t *testing.T) {
	t.Parallel()
	b, sub := newTest(t), testSub("h")
	provision(t, b, sub)
	publish(t, b, 0, 10)
	former := broker.NewSubscriber(sub, b.Source(sub), slog.New(slog.DiscardHandler))
	messages, err := former.Subscribe(context.Background(), testTopic.Name)
	require.NoError(t, err)
	late := <-messages
	require.NoError(t, former.Close())
	consume(t, b, sub, 10)

	out := []broker.Outgoing{{Topic: "out", Message: message.NewMessage("late", nil)}}
	err = b.Commit(t.Context(), late, out)
	require.ErrorIs(t, err, errEnded)
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	require.Empty(t, listed(t, b, "out"))
	rows, err := b.Inspect(t.Context(), nil, []broker.Subscription{sub})
	require.NoError(t, err)
	require.Zero(t, rows[0].Ready)
}

// TestCommit_Writes: the writes of an outcome happen with its outputs or not at
// all, also for a message of our own making, which has no place in the log.
func TestCommit_Writes(t *testing.T) {
	t.Parallel()
	b, sub := newTest(t), testSub("h")
	provision(t, b, sub)
	own := message.NewMessage("own", nil)
	count := func(id string) int {
		var n int
		require.NoError(t, b.log.file.Reader().QueryRow("SELECT count(*) FROM cursor WHERE name = ?", id).Scan(&n))
		return n
	}
	write := func(id string, err error) pipeline.Write {
		return func(tx any) error {
			_, failed := tx.(*sqlitefile.Tx).Exec("INSERT INTO cursor (name, topic, upto) VALUES (?, 1, 0)", id)
			return errors.Join(failed, err)
		}
	}
	out := func(id string) []broker.Outgoing {
		return []broker.Outgoing{{Topic: "out", Message: message.NewMessage(id, nil)}}
	}
	boom := errors.New("boom")
	require.ErrorIs(t, b.Commit(t.Context(), own, out("void"), write("a", nil), write("b", boom)), boom)
	require.Empty(t, listed(t, b, "out"))
	require.Zero(t, count("a"))
	require.NoError(t, b.Commit(t.Context(), own, out("done"), write("a", nil), write("b", nil)))
	require.Equal(t, []string{"done"}, listed(t, b, "out"))
	require.Equal(t, 1, count("a"))
	require.Equal(t, 1, count("b"))
	require.Equal(t, b.log.file.Path(), b.Home())
}

// TestCommit_Again: the outputs of a message that is committed twice are there
// once.
func TestCommit_Again(t *testing.T) {
	t.Parallel()
	b, sub := newTest(t), testSub("h")
	provision(t, b, sub)
	publish(t, b, 0, 1)
	s := broker.NewSubscriber(sub, b.Source(sub), slog.New(slog.DiscardHandler))
	messages, err := s.Subscribe(context.Background(), testTopic.Name)
	require.NoError(t, err)
	msg := <-messages
	for range 2 {
		require.NoError(t, b.Commit(t.Context(), msg, []broker.Outgoing{{Topic: "out", Message: message.NewMessage("o", nil)}}))
	}
	msg.Ack()
	require.NoError(t, s.Drain(t.Context()))
	require.Equal(t, []string{"o"}, listed(t, b, "out"))
}

// TestSource_StuckHead: a subscription gets ahead of its oldest open message
// only so far, and goes on when that is done.
func TestSource_StuckHead(t *testing.T) {
	t.Parallel()
	const total = maxSpan + 2000
	b, sub := newTest(t), testSub("h")
	provision(t, b, sub)
	publish(t, b, 0, total)
	s := broker.NewSubscriber(sub, b.Source(sub), slog.New(slog.DiscardHandler))
	messages, err := s.Subscribe(context.Background(), testTopic.Name)
	require.NoError(t, err)
	head := <-messages // one of the first eight
	before, err := strconv.ParseInt(head.UUID, 10, 64)
	require.NoError(t, err)
	var acked atomic.Int64
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for msg := range messages {
			msg.Ack()
			acked.Add(1)
		}
	}()
	require.Eventually(t, func() bool { return acked.Load() == before+maxSpan-1 }, 30*time.Second, time.Millisecond)
	c, err := b.log.cursor(t.Context(), sub.Name)
	require.NoError(t, err)
	require.Eventually(t, func() bool { _, done, _, _ := c.state(); return done == maxSpan-1 }, 30*time.Second, time.Millisecond)
	_, above := c.row()
	require.Less(t, len(above), 16, "bytes of the cursor")
	head.Ack()
	require.Eventually(t, func() bool { return acked.Load() == total-1 }, 30*time.Second, time.Millisecond)
	require.NoError(t, s.Drain(t.Context()))
	<-ended
}

// TestHealth_DiskFull: a full disk refuses publishes with a reason, is told by
// health, and is over by itself.
func TestHealth_DiskFull(t *testing.T) {
	t.Parallel()
	b, sub := newTest(t), testSub("h")
	provision(t, b, sub)
	publish(t, b, 0, 10)
	pages := func(n int) {
		_ = b.log.file.Write(t.Context(), func(tx *sqlitefile.Tx) error {
			var got int
			return tx.QueryRow(fmt.Sprintf("PRAGMA max_page_count(%d)", n)).Scan(&got)
		})
	}
	require.True(t, b.Health().OK())
	pages(20)
	large := message.NewMessage("large", make([]byte, 1<<20))
	err := b.Publisher().Publish(testTopic.Name, large)
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	require.False(t, pipeline.IsPermanent(err))
	require.Contains(t, b.Health().Blocked, "free some space")
	require.False(t, b.Health().OK())
	consume(t, b, sub, 10) // goes on: it needs no new pages
	pages(1 << 20)
	require.Eventually(t, func() bool { return b.Health().OK() }, 10*time.Second, 10*time.Millisecond)
	require.NoError(t, b.Publisher().Publish(testTopic.Name, large))
	require.Len(t, listed(t, b, testTopic.Name), 11)
}

// TestHealth_Damage: a subscription that cannot read, as the file is damaged,
// is told by health, and nothing is published to such a file.
func TestHealth_Damage(t *testing.T) {
	t.Parallel()
	b, sub := newTest(t), testSub("h")
	provision(t, b, sub)
	for n := range 600 { // more than is in memory or in the write-ahead log
		require.NoError(t, b.Publisher().Publish(testTopic.Name, message.NewMessage(strconv.Itoa(n), make([]byte, 50_000))))
	}
	file, err := os.OpenFile(b.log.file.Path(), os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = file.WriteAt([]byte(strings.Repeat("garbage", 2<<20)), 1<<14) // the beginning stays: who only looks there sees nothing
	require.NoError(t, err)
	require.NoError(t, file.Close())
	require.True(t, b.Health().OK())

	s := broker.NewSubscriber(sub, b.Source(sub), slog.New(slog.DiscardHandler))
	_, err = s.Subscribe(context.Background(), testTopic.Name)
	require.NoError(t, err)
	require.Eventually(t, func() bool { return !b.Health().OK() && len(b.Health().Incidents) > 0 }, 10*time.Second, 10*time.Millisecond)
	require.Contains(t, b.Health().Blocked, "stop waybill, and restore "+b.log.file.Path()+" from a backup")
	require.Contains(t, strings.Join(b.Health().Incidents, "; "), "messages cannot be read")
	err = b.Publisher().Publish(testTopic.Name, message.NewMessage("late", nil))
	require.ErrorContains(t, err, "the file is damaged")
	require.Equal(t, pipeline.ReasonUnavailable, pipeline.ReasonOf(err))
	require.NoError(t, s.Close(), "nothing was handed out")
}

// TestSource_WaitsForAFileInTrouble: a subscription that can't begin, since
// the disk is full, begins once it can.
func TestSource_WaitsForAFileInTrouble(t *testing.T) {
	t.Parallel()
	b := newTest(t)
	publish(t, b, 0, 3)
	require.NoError(t, b.log.file.Write(t.Context(), func(tx *sqlitefile.Tx) error {
		_, err := tx.Exec("CREATE TRIGGER trouble BEFORE INSERT ON cursor BEGIN SELECT RAISE(ABORT, 'in trouble'); END")
		return err
	}))
	sub := testSub("h")
	s := broker.NewSubscriber(sub, b.Source(sub), slog.New(slog.DiscardHandler))
	messages, err := s.Subscribe(context.Background(), testTopic.Name)
	require.NoError(t, err)
	select {
	case <-messages:
		require.Fail(t, "no cursor can be made")
	case <-time.After(100 * time.Millisecond):
	}
	require.NoError(t, b.log.file.Write(t.Context(), func(tx *sqlitefile.Tx) error {
		_, err := tx.Exec("DROP TRIGGER trouble")
		return err
	}))
	(<-messages).Ack()
	require.NoError(t, s.Close())
}

// TestProvision_LeftoverIsNotMade: a subscription on a broker that its topic
// moves away from would be empty if it were made, and what waits elsewhere
// forgotten.
func TestProvision_LeftoverIsNotMade(t *testing.T) {
	t.Parallel()
	for _, provision := range []pipeline.Provision{pipeline.ProvisionVerify, pipeline.ProvisionOff} {
		b, sub := newTest(t), testSub("h")
		sub.Leftover, sub.Topic.Provision = true, provision
		for range 2 {
			err := b.Provision(t.Context(), nil, []broker.Subscription{sub})
			require.ErrorIs(t, err, broker.ErrMissing, provision)
			require.True(t, pipeline.IsPermanent(err))
		}
	}
}
