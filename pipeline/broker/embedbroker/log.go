package embedbroker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"

	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
)

const schema = `
CREATE TABLE IF NOT EXISTS topic (
	id   INTEGER PRIMARY KEY,
	name TEXT NOT NULL UNIQUE
);
CREATE TABLE IF NOT EXISTS message (
	pos     INTEGER PRIMARY KEY, -- topic.id << 40 | place in the topic
	time    INTEGER NOT NULL,    -- Unix milliseconds
	id      TEXT NOT NULL,
	meta    BLOB,
	payload BLOB NOT NULL
);
CREATE TABLE IF NOT EXISTS cursor (
	name  TEXT PRIMARY KEY,
	topic INTEGER NOT NULL,
	upto  INTEGER NOT NULL,      -- everything up to this pos is done
	above BLOB                   -- and beyond it these, see positionEncoder; NULL until something is done
) WITHOUT ROWID;
`

// placeBits is how much of a pos is the place within its topic.
const placeBits = 40

// log is the file and what is known of it. The Brokers of a process that are
// on the same file share one.
type log struct {
	file *sqlitefile.File

	mu      sync.Mutex
	topics  map[string]*topicLog
	cursors map[string]*cursor       // by subscription
	turns   map[string]chan struct{} // by subscription: holds a token while nobody reads it

	claims sync.Map // *broker.Claim → *cursor, of the sources that run

	holders int
	trouble trouble // with writing
	reading trouble
	keeper  *keeper
}

// topicLog is one topic's run in the file.
type topicLog struct {
	name string
	id   int64

	// The writer's goroutine alone changes these.
	next int64 // the next pos
	time int64 // of the last message, in Unix milliseconds; never falls

	waiting atomic.Int32 // readers that wait for more

	mu    sync.Mutex
	last  int64         // the last pos that is committed
	grew  chan struct{} // closed when last moves
	fresh fresh
}

func (t *topicLog) first() int64 { return t.id << placeBits }
func (t *topicLog) end() int64   { return (t.id + 1) << placeBits }

// tip returns the last committed pos, and a channel that is closed when there
// is more.
func (t *topicLog) tip() (int64, <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last, t.grew
}

func (t *topicLog) extend(pos int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.last = pos
	t.fresh.committed()
	close(t.grew)
	t.grew = make(chan struct{})
}

// logs are the open ones of this process by path.
var logs = struct {
	sync.Mutex
	byPath map[string]*log
}{byPath: make(map[string]*log)}

func openLog(path string) (*log, error) {
	logs.Lock()
	defer logs.Unlock()
	file, err := sqlitefile.Open(path, sqlitefile.Options{Schema: schema})
	if err != nil {
		return nil, err
	}
	l := logs.byPath[file.Path()]
	if l == nil {
		if l, err = newLog(file); err != nil {
			return nil, errors.Join(fmt.Errorf("read %s: %w", path, err), file.Close())
		}
		logs.byPath[file.Path()] = l
	}
	l.holders++
	return l, nil
}

func newLog(file *sqlitefile.File) (*log, error) {
	l := &log{
		file: file, topics: make(map[string]*topicLog),
		cursors: make(map[string]*cursor), turns: make(map[string]chan struct{}),
	}
	if err := l.loadTopics(); err != nil {
		return nil, err
	}
	l.keeper = startKeeper(l)
	return l, nil
}

func (l *log) close() error {
	logs.Lock()
	defer logs.Unlock()
	if l.holders--; l.holders == 0 {
		delete(logs.byPath, l.file.Path())
		l.keeper.stop()
	}
	return l.file.Close()
}

func (l *log) loadTopics() error {
	rows, err := l.file.Reader().Query("SELECT id, name FROM topic")
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var id int64
		var name string
		if err := rows.Scan(&id, &name); err != nil {
			return err
		}
		l.topics[name] = newTopicLog(name, id)
	}
	if err := rows.Err(); err != nil {
		return err
	}
	for _, t := range l.topics {
		if err := l.loadTip(t); err != nil {
			return err
		}
	}
	return nil
}

func newTopicLog(name string, id int64) *topicLog {
	return &topicLog{name: name, id: id, next: id<<placeBits + 1, last: id << placeBits, grew: make(chan struct{})}
}

func (l *log) loadTip(t *topicLog) error {
	err := l.file.Reader().QueryRow("SELECT pos, time FROM message WHERE pos > ? AND pos < ? ORDER BY pos DESC LIMIT 1",
		t.first(), t.end()).Scan(&t.last, &t.time)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	t.next = t.last + 1
	return err
}

// topic returns the topic's log, making it if it is not there.
func (l *log) topic(ctx context.Context, name string) (*topicLog, error) {
	l.mu.Lock()
	t := l.topics[name]
	l.mu.Unlock()
	if t != nil {
		return t, nil
	}
	var made *topicLog
	err := l.write(ctx, func(tx *sqlitefile.Tx) error {
		if _, err := tx.Exec("INSERT INTO topic (name) VALUES (?) ON CONFLICT DO NOTHING", name); err != nil {
			return err
		}
		var id int64
		err := tx.QueryRow("SELECT id FROM topic WHERE name = ?", name).Scan(&id)
		made = newTopicLog(name, id)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make topic %s: %w", name, err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if t := l.topics[name]; t != nil {
		return t, nil // somebody else was as quick
	}
	l.topics[name] = made
	return made, nil
}

// append adds messages to the topic within tx. Readers see them when it is
// committed.
func (t *topicLog) append(tx *sqlitefile.Tx, msgs ...*message.Message) error {
	before, kept, size := t.next, len(t.fresh.coming), t.fresh.bytes
	tx.OnUndo(func() {
		t.next = before
		t.fresh.undo(kept, size)
	})
	t.time = max(t.time, time.Now().UnixMilli()) // the clock may be set back
	awaited := t.waiting.Load() > 0
	for _, msg := range msgs {
		meta := encodeMetadata(msg.Metadata)
		_, err := tx.Exec("INSERT INTO message (pos, time, id, meta, payload) VALUES (?, ?, ?, ?, ?)",
			t.next, t.time, msg.UUID, meta, payload(msg))
		if err != nil {
			return err
		}
		if awaited {
			t.fresh.collect(t.next, msg, meta)
		}
		t.next++
	}
	tx.AtEnd(t, func() (any, func() error) {
		tx.OnCommit(func() { t.extend(t.next - 1) })
		return nil, func() error { return nil }
	})
	return nil
}

// payload is never NULL in the file.
func payload(msg *message.Message) []byte {
	if msg.Payload == nil {
		return []byte{}
	}
	return msg.Payload
}

// write writes to the file and notes how that went.
func (l *log) write(ctx context.Context, fn func(*sqlitefile.Tx) error) error {
	err := l.file.Write(ctx, fn)
	l.trouble.note(err)
	return err
}

// start begins a write that nobody waits for, and notes how that goes.
func (l *log) start(fn func(*sqlitefile.Tx) error, told func(error)) bool {
	return l.file.Start(fn, func(err error) {
		l.trouble.note(err)
		told(err)
	})
}

// turn returns the token of a subscription: who holds it reads.
func (l *log) turn(name string) chan struct{} {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.turns[name]
	if t == nil {
		t = make(chan struct{}, 1)
		t <- struct{}{}
		l.turns[name] = t
	}
	return t
}
