package embedbroker

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// TestKeeper: what goes, and what stays.
func TestKeeper(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	tests := []struct {
		name      string
		retention pipeline.Retention
		dead      bool // a dead-letter topic
		read      int  // messages of 1000 that the subscription has read
		after     time.Duration
		keeps     int
		margin    int // how exact that is
	}{
		{"YoungStays", pipeline.Retention{}, false, 1000, day, 1000, 0},
		{"OldGoes", pipeline.Retention{}, false, 1000, 8 * day, 1, 0},
		{"OwnAge", pipeline.Retention{Age: time.Hour}, false, 1000, 2 * time.Hour, 1, 0},
		{"ForEver", pipeline.Retention{Age: -1}, false, 1000, 1000 * day, 1000, 0},
		{"MovingAway", pipeline.Retention{Age: -1, Bytes: -1}, false, 1000, 1000 * day, 1000, 0},
		{"DeadLettersStay", pipeline.Retention{}, true, 1000, 1000 * day, 1000, 0},
		{"DeadLettersWithAnAge", pipeline.Retention{Age: day}, true, 1000, 2 * day, 1, 0},
		{"UnreadStays", pipeline.Retention{}, false, 400, 1000 * day, 600, 0},
		{"NothingRead", pipeline.Retention{}, false, 0, 1000 * day, 1000, 0},
		{"Bytes", pipeline.Retention{Bytes: 30_000}, false, 1000, 0, 290, 20},
		{"BytesUnread", pipeline.Retention{Bytes: 30_000}, false, 0, 0, 1000, 0},
		{"BytesWithoutAge", pipeline.Retention{Bytes: 1 << 30}, false, 1000, 1000 * day, 1000, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			path := filepath.Join(t.TempDir(), "waybill.db")
			b, sub := openTest(t, path), testSub("h")
			topic := testTopic
			topic.Retention, topic.DeadLetter = test.retention, test.dead
			require.NoError(t, b.Provision(t.Context(), []pipeline.Topic{topic}, []broker.Subscription{sub}))
			publish(t, b, 0, 1000)
			if test.read > 0 {
				sub.InFlight, sub.Concurrency = 1, 1 // so that none of the rest is read
				consume(t, b, sub, test.read)
			}
			b.log.keeper.sweep(time.Now().Add(test.after))
			require.InDelta(t, test.keeps, len(listed(t, b, testTopic.Name)), float64(test.margin))

			had, err := b.HadMessages(t.Context(), testTopic)
			require.NoError(t, err)
			require.True(t, had)
			require.NoError(t, b.Close())

			// Places go on where they were, so that no cursor skips anything.
			b = openTest(t, path)
			publish(t, b, 1000, 1001)
			consume(t, b, testSub("h"), 1001-test.read)
		})
	}
}

// TestKeeper_AllSubscriptions: a topic is kept for the slowest, also where the
// config's parts are provisioned one by one.
func TestKeeper_AllSubscriptions(t *testing.T) {
	t.Parallel()
	b, fast, slow := newTest(t), testSub("fast"), testSub("slow")
	provision(t, b, fast)
	provision(t, b, slow)
	provision(t, b, fast)
	publish(t, b, 0, 100)
	consume(t, b, fast, 100)
	b.log.keeper.sweep(time.Now().Add(1000 * time.Hour))
	require.Len(t, listed(t, b, testTopic.Name), 100)
	consume(t, b, slow, 100)
	b.log.keeper.sweep(time.Now().Add(1000 * time.Hour))
	require.Len(t, listed(t, b, testTopic.Name), 1)
}
