package rabbitbroker

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
)

// answers are what became of messages, by number.
type answers chan answer

type answer struct {
	number int
	err    error
}

// Confirmed implements pipeline.Confirmer.
func (a answers) Confirmed(number int, err error) { a <- answer{number, err} }

func (a answers) next(t testing.TB) answer {
	t.Helper()
	select {
	case got := <-a:
		return got
	case <-time.After(patience):
		t.Fatal("nobody tells what became of a message")
		return answer{}
	}
}

// started opens the publisher's channel, and begins n messages.
func (f *bundle) started(topic pipeline.Topic, to answers, n int) {
	f.Helper()
	f.mustPublish(topic, text("first", "x"))
	for i := range n {
		require.True(f, f.b.Start(topic.Name, text(fmt.Sprint(i), "x"), to, i))
	}
}

// TestStart_Unroutable: what reaches no queue is never confirmed.
func TestStart_Unroutable(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.topic("out", nil)
	f.provision()
	f.mustPublish(topic, text("first", "x"))
	_, err := f.ch.QueueDelete(topic.Name, false, false, false)
	require.NoError(t, err)
	to := make(answers, 1)
	require.True(t, f.b.Start(topic.Name, text("lost", "x"), to, 0))
	got := to.next(t)
	require.Equal(t, pipeline.ReasonUnroutable, pipeline.ReasonOf(got.err), "%v", got.err)
}

// TestStart_Refused: a broker that refuses for now is told as an error, and what
// was refused costs no room.
func TestStart_Refused(t *testing.T) {
	t.Parallel()
	f := setup(t)
	topic := f.narrow()
	to := make(answers, 100)
	f.started(topic, to, 100)
	for range 100 {
		require.ErrorContains(t, to.next(t).err, "the queue may be full")
	}
	f.b.publisher.mu.Lock()
	c := f.b.publisher.current
	f.b.publisher.mu.Unlock()
	require.True(t, c.room.TryAcquire(roomBytes), "all room is free again")
}
