package embedbroker

import (
	"bytes"
	"context"
	"slices"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline"
)

// freshBytes bounds what a topic keeps in memory of its last transaction.
const freshBytes = 256 << 10

// record is a message as it is in the file.
type record struct {
	pos     int64
	id      string
	meta    []byte // see encodeMetadata
	payload []byte
}

func (r record) stored() (stored, error) {
	metadata, err := decodeMetadata(r.meta)
	return stored{r.pos, pipeline.NewMessage(r.id, r.payload, metadata)}, err
}

// fresh is what a topic's last transaction has added, or its beginning, for those
// who waited for it: a query would take them longer than all else until a
// handler has the message. Nothing is kept while nobody waits.
//
// The writer's goroutine alone collects; the topic's mutex guards what is there.
type fresh struct {
	coming []record
	bytes  int

	there []record
}

// collect keeps a message that was added to the transaction. What undo returns
// to is the number of those that were kept before.
func (f *fresh) collect(pos int64, msg *message.Message, meta []byte) {
	last := len(f.coming) - 1
	if f.bytes += len(meta) + len(msg.Payload); f.bytes > freshBytes || last >= 0 && f.coming[last].pos != pos-1 {
		return // a beginning without gaps
	}
	f.coming = append(f.coming, record{pos, msg.UUID, meta, bytes.Clone(msg.Payload)})
}

func (f *fresh) undo(kept, size int) { f.coming, f.bytes = f.coming[:kept], size }

// committed makes what was collected what is there.
func (f *fresh) committed() { f.there, f.coming, f.bytes = f.coming, nil, 0 }

// behind returns what lies behind pos, if that is there from the next on.
func (f *fresh) behind(pos int64) []record {
	if len(f.there) == 0 || f.there[0].pos > pos+1 {
		return nil
	}
	i, _ := slices.BinarySearchFunc(f.there, pos+1, func(r record, pos int64) int { return int(r.pos - pos) })
	return f.there[i:]
}

// read returns the next messages behind pos, each the caller's own.
func (l *log) read(ctx context.Context, t *topicLog, pos int64) ([]stored, error) {
	t.mu.Lock()
	records := t.fresh.behind(pos)
	t.mu.Unlock()
	if len(records) == 0 {
		return l.scan(ctx, t, pos)
	}
	batch := make([]stored, len(records))
	for i, r := range records {
		r.payload = bytes.Clone(r.payload) // others may read it, too
		var err error
		if batch[i], err = r.stored(); err != nil {
			return nil, err
		}
	}
	return batch, nil
}

// await waits for more in the topic, as grew says. False: stop came first.
func (t *topicLog) await(grew, stop <-chan struct{}) bool {
	t.waiting.Add(1)
	defer t.waiting.Add(-1)
	select {
	case <-grew:
		return true
	case <-stop:
		return false
	}
}
