package embedbroker

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"
)

// TestFresh: whatever was collected, undone and committed, what is handed over
// is what the file has behind a position, from the very next on.
func TestFresh(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var f fresh
		var file []string // ids by pos, from 1
		for range rapid.IntRange(1, 8).Draw(t, "transactions") {
			begun := len(file)
			for range rapid.IntRange(0, 5).Draw(t, "writes") {
				before, kept, size := len(file), len(f.coming), f.bytes
				awaited := rapid.Bool().Draw(t, "awaited")
				for range rapid.IntRange(1, 3).Draw(t, "messages") {
					id := fmt.Sprint(rapid.Int().Draw(t, "id"))
					file = append(file, id)
					if awaited {
						large := rapid.IntRange(0, 9).Draw(t, "large") == 0
						payload := strings.Repeat("x", map[bool]int{false: 1, true: freshBytes}[large])
						f.collect(int64(len(file)), message.NewMessage(id, []byte(payload)), nil)
					}
				}
				if rapid.IntRange(0, 4).Draw(t, "undone") == 0 {
					file = file[:before]
					f.undo(kept, size)
				}
			}
			if rapid.IntRange(0, 4).Draw(t, "rolled back") == 0 {
				file = file[:begun]
				f.undo(0, 0)
				continue
			}
			f.committed()
			pos := int64(rapid.IntRange(0, len(file)).Draw(t, "pos"))
			for i, r := range f.behind(pos) {
				require.Equal(t, pos+1+int64(i), r.pos, "without a gap")
				require.Equal(t, file[r.pos-1], r.id)
			}
		}
	})
}

// TestFresh_HandsOver: who waits has a message without reading the file, and one
// of its own.
func TestFresh_HandsOver(t *testing.T) {
	t.Parallel()
	b := openTest(t, filepath.Join(t.TempDir(), "waybill.db"))
	provision(t, b)
	log, err := b.log.topic(t.Context(), testTopic.Name)
	require.NoError(t, err)
	at, grew := log.tip()
	waited := make(chan bool)
	go func() { waited <- log.await(grew, nil) }()
	require.Eventually(t, func() bool { return log.waiting.Load() == 1 }, 10*time.Second, time.Millisecond)
	msg := message.NewMessage("a", []byte("payload"))
	msg.Metadata.Set("name", "value")
	require.NoError(t, b.Publisher().Publish(testTopic.Name, msg))
	require.True(t, <-waited)
	require.Len(t, log.fresh.there, 1)
	for range 2 {
		batch, err := b.log.read(t.Context(), log, at)
		require.NoError(t, err)
		require.Len(t, batch, 1)
		require.Equal(t, "a", batch[0].msg.UUID)
		require.Equal(t, "payload", string(batch[0].msg.Payload))
		require.Equal(t, "value", batch[0].msg.Metadata.Get("name"))
		batch[0].msg.Payload[0] = 'X'
		batch[0].msg.Metadata.Set("name", "another")
	}
	publish(t, b, 0, 1)
	require.Empty(t, log.fresh.there, "nobody waits: nothing is kept")
}
