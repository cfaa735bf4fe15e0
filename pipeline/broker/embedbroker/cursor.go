package embedbroker

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/sqlitefile"
)

// cursor is how far a subscription has come, as the file has it or will have
// it with the transaction under way. There is one a subscription, whoever
// reads it, so that a late commit of a former reader can't undo what its
// successor has done.
type cursor struct {
	name  string
	topic *topicLog
	used  bool // a process before this one acknowledged something

	mu    sync.Mutex
	upto  int64         // everything up to here is done
	read  []place       // handed out beyond upto, rising
	later []int64       // done beyond those, rising: left by an earlier reader
	owner *broker.Claim // of the one that reads; nil: nobody
}

// place is a message that was handed out.
type place struct {
	pos  int64
	done bool
}

// errEnded refuses what a former reader has to say of its messages: they are
// handed out again.
var errEnded = pipeline.WithReason(
	errors.New("the subscription of the message has ended: it will be handed out again"), pipeline.ReasonUnavailable)

// cursor returns the subscription's cursor, or sql.ErrNoRows.
func (l *log) cursor(ctx context.Context, name string) (*cursor, error) {
	l.mu.Lock()
	c := l.cursors[name]
	l.mu.Unlock()
	if c != nil {
		return c, nil
	}
	c, err := l.readCursor(ctx, name)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if first := l.cursors[name]; first != nil {
		return first, nil // somebody else was as quick
	}
	l.cursors[name] = c
	return c, nil
}

func (l *log) readCursor(ctx context.Context, name string) (*cursor, error) {
	c := &cursor{name: name}
	var topic string
	var above []byte
	err := l.file.Reader().QueryRowContext(ctx,
		"SELECT topic.name, upto, above, above IS NOT NULL FROM cursor JOIN topic ON topic.id = cursor.topic WHERE cursor.name = ?", name).Scan(&topic, &c.upto, &above, &c.used)
	if err != nil {
		return nil, l.file.Mark(err)
	}
	if c.later, err = decodePositions(c.upto, above); err != nil {
		return nil, l.file.Damaged(fmt.Errorf("read cursor %s: %w", name, err))
	}
	c.topic, err = l.topic(ctx, topic)
	return c, err
}

// makeCursor makes the subscription if it is not there.
func (l *log) makeCursor(ctx context.Context, sub broker.Subscription) error {
	if _, err := l.cursor(ctx, sub.Name); !errors.Is(err, sql.ErrNoRows) {
		return err
	}
	t, err := l.topic(ctx, sub.Topic.Name)
	if err != nil {
		return err
	}
	upto, err := l.startOf(ctx, t, sub.Start)
	if err != nil {
		return fmt.Errorf("find where %s begins: %w", sub.Name, err)
	}
	return l.write(ctx, func(tx *sqlitefile.Tx) error {
		_, err := tx.Exec("INSERT INTO cursor (name, topic, upto) VALUES (?, ?, ?) ON CONFLICT DO NOTHING", sub.Name, t.id, upto)
		return err
	})
}

// startOf is the pos behind which a new subscription begins.
func (l *log) startOf(ctx context.Context, t *topicLog, start pipeline.Start) (int64, error) {
	switch {
	case start.Newest:
		last, _ := t.tip()
		return last, nil
	case start.Time.IsZero():
		return t.first(), nil
	}
	pos, err := l.since(ctx, t, start.Time)
	return pos - 1, err
}

// begin makes claim the one that reads, and returns where it begins.
func (c *cursor) begin(claim *broker.Claim) int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var done []int64
	for _, p := range c.read {
		if p.done {
			done = append(done, p.pos)
		}
	}
	c.later, c.read, c.owner = append(done, c.later...), nil, claim
	return c.upto
}

// end lets the next one read.
func (c *cursor) end() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owner = nil
}

// take notes that pos was read, and reports whether it was done before.
func (c *cursor) take(pos int64) (done bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.later) > 0 && c.later[0] < pos {
		c.later = c.later[1:] // deleted since
	}
	if len(c.later) > 0 && c.later[0] == pos {
		c.later, done = c.later[1:], true
	}
	c.read = append(c.read, place{pos, done})
	return done
}

// find returns the place of pos, or nil if it is done with the prefix.
func (c *cursor) find(pos int64) *place {
	i, ok := slices.BinarySearchFunc(c.read, pos, func(p place, pos int64) int { return int(p.pos - pos) })
	if !ok {
		return nil
	}
	return &c.read[i]
}

// open lists those of the positions that are not marked as done, in place.
func (c *cursor) open(positions []int64) []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.DeleteFunc(positions, func(pos int64) bool {
		p := c.find(pos)
		return p == nil || p.done
	})
}

// finish marks positions as done within tx. However many do so in one
// transaction, the row is written once. It returns those that it marked, and
// errEnded if claim is not the one that reads.
func (c *cursor) finish(tx *sqlitefile.Tx, claim *broker.Claim, positions ...int64) (marked int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.owner != claim {
		return 0, errEnded
	}
	for i, pos := range positions {
		if p := c.find(pos); p != nil && !p.done {
			p.done = true
			positions[marked], positions[i] = positions[i], positions[marked]
			marked++
		}
	}
	if marked == 0 {
		return 0, nil
	}
	tx.OnUndo(func() { c.undo(positions[:marked]) })
	tx.AtEnd(c, func() (any, func() error) {
		tx.OnCommit(c.trim)
		return nil, func() error {
			upto, above := c.row()
			_, err := tx.Exec("UPDATE cursor SET upto = ?, above = coalesce(?, x'') WHERE name = ?", upto, above, c.name)
			return err
		}
	})
	return marked, nil
}

func (c *cursor) undo(positions []int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, pos := range positions {
		if p := c.find(pos); p != nil {
			p.done = false
		}
	}
}

// readUpTo lists what was handed out up to pos and is not in the prefix.
func (c *cursor) readUpTo(pos int64) []int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	var positions []int64
	for _, p := range c.read {
		if p.pos <= pos {
			positions = append(positions, p.pos)
		}
	}
	return positions
}

// prefix returns how many places at the front are done.
func (c *cursor) prefix() int {
	n := slices.IndexFunc(c.read, func(p place) bool { return !p.done })
	if n < 0 {
		return len(c.read)
	}
	return n
}

// row is what the file is to have: the end of the prefix, and what is done
// beyond it.
func (c *cursor) row() (upto int64, above []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	upto = c.upto
	n := c.prefix()
	if n > 0 {
		upto = c.read[n-1].pos
	}
	e := positionEncoder{next: upto + 1}
	for _, p := range c.read[n:] {
		if p.done {
			e.add(p.pos)
		}
	}
	for _, pos := range c.later {
		e.add(pos)
	}
	return upto, e.bytes()
}

// trim forgets the prefix that is done and committed.
func (c *cursor) trim() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if n := c.prefix(); n > 0 {
		c.upto = c.read[n-1].pos
		c.read = append(c.read[:0], c.read[n:]...)
	}
}

// state returns the end of the prefix, how many are done beyond it, how many
// were handed out and are not done, and whether somebody reads.
func (c *cursor) state() (upto int64, done, inHand int, reading bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	done = len(c.later)
	for _, p := range c.read {
		if p.done {
			done++
		} else if c.owner != nil {
			inHand++
		}
	}
	return c.upto, done, inHand, c.owner != nil
}
