package embedbroker

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
)

// How much is read at a time: whichever comes first.
const (
	readBatch = 256
	readBytes = 4 << 20
)

// stored is a message as it is in the file.
type stored struct {
	pos int64
	msg *message.Message
}

// scan reads the next messages behind pos.
func (l *log) scan(ctx context.Context, t *topicLog, pos int64) ([]stored, error) {
	batch, size := make([]stored, 0, readBatch), 0
	var damaged error
	err := l.file.Scan(ctx, "SELECT pos, id, meta, payload FROM message WHERE pos > ? AND pos < ? ORDER BY pos LIMIT ?",
		func(row []driver.Value) (more bool) {
			m, err := decode(row)
			if err != nil {
				damaged = fmt.Errorf("read message %d of %s: %w", row[0].(int64)&(1<<placeBits-1), t.name, err)
				return false
			}
			batch = append(batch, m)
			size += len(m.msg.Payload)
			return size < readBytes
		}, pos, t.end(), readBatch)
	if err == nil && damaged != nil {
		err = l.file.Damaged(damaged)
	}
	err = l.file.Mark(err)
	l.reading.note(err)
	return batch, err
}

// decode makes a message of a row of pos, id, meta and payload.
func decode(row []driver.Value) (stored, error) {
	pos, _ := row[0].(int64)
	id, _ := row[1].(string)
	meta, _ := row[2].([]byte)
	payload, _ := row[3].([]byte)
	return record{pos, id, meta, payload}.stored()
}

// count returns how many messages lie behind pos.
func (l *log) count(ctx context.Context, t *topicLog, pos int64) (int64, error) {
	var n int64
	err := l.file.Reader().QueryRowContext(ctx, "SELECT count(*) FROM message WHERE pos > ? AND pos < ?", pos, t.end()).Scan(&n)
	return n, l.file.Mark(err)
}

// oldest returns the first message's pos; behind the last if there is none.
func (l *log) oldest(ctx context.Context, t *topicLog) (int64, error) {
	var pos int64
	err := l.file.Reader().QueryRowContext(ctx,
		"SELECT pos FROM message WHERE pos > ? AND pos < ? ORDER BY pos LIMIT 1", t.first(), t.end()).Scan(&pos)
	if errors.Is(err, sql.ErrNoRows) {
		last, _ := t.tip()
		return last + 1, nil
	}
	return pos, l.file.Mark(err)
}

// since returns the pos of the first message that is not older than when;
// behind the last if all are older. A topic's times never fall, so it looks at
// a few dozen messages only.
func (l *log) since(ctx context.Context, t *topicLog, when time.Time) (int64, error) {
	lo, err := l.oldest(ctx, t)
	if err != nil {
		return 0, err
	}
	last, _ := t.tip()
	for hi := last + 1; lo < hi; {
		mid := lo + (hi-lo)/2
		var at int64
		err := l.file.Reader().QueryRowContext(ctx,
			"SELECT time FROM message WHERE pos >= ? AND pos < ? ORDER BY pos LIMIT 1", mid, t.end()).Scan(&at)
		if err != nil {
			return 0, l.file.Mark(err)
		}
		if at < when.UnixMilli() {
			lo = mid + 1
		} else {
			hi = mid
		}
	}
	return lo, nil
}
