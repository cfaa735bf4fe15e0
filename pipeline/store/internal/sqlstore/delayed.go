package sqlstore

import (
	"cmp"
	"context"
	"crypto/rand"
	"math"
	"slices"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// A delayed message is ready when its time has come, or its lease has ended:
// ready_at is the later of the two. One behind another of its key is blocked
// and in no index that LeaseDue looks at, so that what waits costs nothing.

const insertDelayed = `
INSERT INTO delayed (handler, message, copy, topic, part, place, msg_key, due_at, ready_at, blocked, token, leases,
	attempts, rounds, first_at, reason, error, overtake, parked, replay, replays, letter, headers, payload,
	long_message, long_key)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, '', 0, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24)
ON CONFLICT (handler, message, copy) DO NOTHING`

// Delay implements store.Delayed.
func (s *Store) Delay(m store.DelayedMessage) pipeline.Write {
	return s.write("delay message", func(tx Tx) error {
		_, err := s.put(tx, m)
		return err
	})
}

// put inserts a message at the end of its key, unless it is there, and returns
// how many rows that are.
func (s *Store) put(tx Tx, m store.DelayedMessage) (int64, error) {
	headers, err := encodeHeaders(m.Headers)
	if err != nil {
		return 0, err
	}
	blocked, err := s.behind(tx, m)
	if err != nil {
		return 0, err
	}
	return tx.Exec(insertDelayed, m.Handler, indexed(m.Message), indexed(m.Copy), m.Topic, int64(m.Partition), m.Offset,
		indexed(m.Key), micros(m.Due), ready(m), truth(blocked), m.Attempts, m.Rounds, micros(m.First), string(m.Reason),
		show(m.Error), truth(m.Overtake), truth(m.Parked), truth(m.Replay), m.Replays, m.Letter, headers, bytesOf(m.Payload),
		long(m.Message), long(m.Key))
}

// ready is when m can be leased. A parked one is out of reach.
func ready(m store.DelayedMessage) int64 {
	if m.Parked {
		return math.MaxInt64
	}
	return micros(m.Due)
}

// ordered reports whether m waits for others of its key.
func ordered(m store.DelayedMessage) bool { return m.Key != "" && !m.Overtake }

// behind locks m's key until the transaction ends, and reports whether another
// message of it is there.
func (s *Store) behind(tx Tx, m store.DelayedMessage) (bool, error) {
	if !ordered(m) {
		return false, nil
	}
	if err := s.lock(tx, m); err != nil {
		return false, err
	}
	var id int64
	return one(tx, "SELECT id FROM delayed WHERE handler = $1 AND msg_key = $2 AND overtake = 0 LIMIT 1", []any{&id}, m.Handler, indexed(m.Key))
}

// lock has whoever puts behind a message wait for who ends it: else it would
// be blocked by one that is gone.
func (s *Store) lock(tx Tx, m store.DelayedMessage) error {
	return s.dialect.LockKey(tx, m.Handler+"\n"+indexed(m.Key))
}

const delayedColumns = "id, handler, message, copy, topic, part, place, msg_key, due_at, attempts, rounds, first_at, reason, error, " +
	"overtake, parked, replay, replays, letter, headers, payload, long_message, long_key"

func scanDelayed(scan func(...any) error, more ...any) (m store.DelayedMessage, err error) {
	var due, first, overtake, parked, replay int64
	var headers, message, key string
	err = scan(append([]any{
		&m.ID, &m.Handler, &m.Message, &m.Copy, &m.Topic, &m.Partition, &m.Offset, &m.Key, &due, &m.Attempts, &m.Rounds, &first,
		&m.Reason, &m.Error, &overtake, &parked, &replay, &m.Replays, &m.Letter, &headers, &m.Payload, &message, &key,
	}, more...)...)
	if err != nil {
		return m, err
	}
	m.Message, m.Copy, m.Key = whole(m.Message, message), decodeText(m.Copy), whole(m.Key, key)
	m.Due, m.First, m.Overtake, m.Parked, m.Replay = fromMicros(due), fromMicros(first), overtake == 1, parked == 1, replay == 1
	m.Headers, err = decodeHeaders(headers)
	return m, err
}

// LeaseDue implements store.Delayed.
func (s *Store) LeaseDue(ctx context.Context, handler string, n int, ttl time.Duration) (leases []store.Lease, err error) {
	token := rand.Text()
	err = s.update(ctx, "lease delayed messages", func(tx Tx) error {
		leases = nil
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		until := now.Add(ttl)
		return tx.Query(`
			WITH due AS MATERIALIZED (
				SELECT id FROM delayed WHERE handler = $1 AND blocked = 0 AND ready_at <= $2 ORDER BY ready_at, id LIMIT $3`+s.dialect.SkipLocked()+`
			)
			UPDATE delayed SET token = $4, ready_at = $5, leases = leases + 1 WHERE id IN (SELECT id FROM due) RETURNING `+delayedColumns+`, leases`,
			func(scan func(...any) error) error {
				l := store.Lease{Token: token, Until: until}
				l.DelayedMessage, err = scanDelayed(scan, &l.Leases)
				leases = append(leases, l)
				return err
			}, handler, micros(now), limit(n), token, micros(until))
	})
	if err != nil {
		return nil, err
	}
	slices.SortFunc(leases, func(a, b store.Lease) int { return cmp.Or(a.Due.Compare(b.Due), cmp.Compare(a.ID, b.ID)) })
	return leases, nil
}

// leased runs a statement on a leased message, $1 and $2 being its id and
// token.
func leased(tx Tx, l store.Lease, statement string, args ...any) error {
	n, err := tx.Exec(statement, append([]any{l.ID, l.Token}, args...)...)
	if err == nil && n == 0 {
		err = store.ErrStaleToken
	}
	return err
}

// ExtendLease implements store.Delayed.
func (s *Store) ExtendLease(ctx context.Context, l store.Lease, ttl time.Duration) error {
	return s.update(ctx, "extend lease", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		return leased(tx, l, "UPDATE delayed SET ready_at = $3 WHERE id = $1 AND token = $2", micros(now.Add(ttl)))
	})
}

// EndDelayed implements store.Delayed.
func (s *Store) EndDelayed(l store.Lease) pipeline.Write {
	return s.write("end delayed message", func(tx Tx) error {
		if ordered(l.DelayedMessage) {
			if err := s.lock(tx, l.DelayedMessage); err != nil {
				return err
			}
		}
		if err := leased(tx, l, "DELETE FROM delayed WHERE id = $1 AND token = $2"); err != nil || !ordered(l.DelayedMessage) {
			return err
		}
		return letGo(tx, l.DelayedMessage)
	})
}

// letGo lets the next of m's key go. The key is locked.
func letGo(tx Tx, m store.DelayedMessage) error {
	_, err := tx.Exec(`UPDATE delayed SET blocked = 0 WHERE blocked = 1 AND id =
		(SELECT min(id) FROM delayed WHERE handler = $1 AND msg_key = $2 AND overtake = 0)`, m.Handler, indexed(m.Key))
	return err
}

// DelayAgain implements store.Delayed.
func (s *Store) DelayAgain(l store.Lease) pipeline.Write {
	return s.write("delay message again", func(tx Tx) error {
		return leased(tx, l, `UPDATE delayed SET token = '', leases = 0, due_at = $3, ready_at = $4, attempts = $5, rounds = $6, first_at = $7,
			reason = $8, error = $9, parked = $10, replay = $11, replays = $12 WHERE id = $1 AND token = $2`,
			micros(l.Due), ready(l.DelayedMessage), l.Attempts, l.Rounds, micros(l.First), string(l.Reason), show(l.Error),
			truth(l.Parked), truth(l.Replay), l.Replays)
	})
}

// HeldKeys implements store.Delayed.
func (s *Store) HeldKeys(ctx context.Context, handler string) (keys []string, err error) {
	err = s.view(ctx, "list held keys", "SELECT DISTINCT msg_key, long_key FROM delayed WHERE handler = $1 AND msg_key <> '' AND overtake = 0 ORDER BY msg_key",
		func(scan func(...any) error) error {
			var key, long string
			err := scan(&key, &long)
			keys = append(keys, whole(key, long))
			return err
		}, handler)
	return keys, err
}

// Holds implements store.Delayed.
func (s *Store) Holds(ctx context.Context, handler, key string) (held bool, err error) {
	err = s.view(ctx, "ask whether a key is held", "SELECT id FROM delayed WHERE handler = $1 AND msg_key = $2 AND overtake = 0 LIMIT 1",
		func(scan func(...any) error) error {
			var id int64
			held = true
			return scan(&id)
		}, handler, indexed(key))
	return held, err
}

// CountDelayed implements store.Delayed.
func (s *Store) CountDelayed(ctx context.Context) (map[string]store.DelayedCount, error) {
	counts := make(map[string]store.DelayedCount)
	err := s.view(ctx, "count delayed messages", `
		SELECT handler, count(*), 0 FROM delayed GROUP BY handler UNION ALL
		SELECT handler, -count(*), count(*) FROM delayed WHERE parked = 1 GROUP BY handler`,
		func(scan func(...any) error) error {
			var handler string
			var n store.DelayedCount
			err := scan(&handler, &n.Waiting, &n.Parked)
			counts[handler] = store.DelayedCount{Waiting: counts[handler].Waiting + n.Waiting, Parked: counts[handler].Parked + n.Parked}
			return err
		})
	return counts, err
}

// NextDue implements store.Delayed.
func (s *Store) NextDue(ctx context.Context, handler string) (at time.Time, ok bool, err error) {
	err = s.view(ctx, "ask when a message is due", "SELECT ready_at FROM delayed WHERE handler = $1 AND blocked = 0 AND parked = 0 ORDER BY ready_at LIMIT 1",
		func(scan func(...any) error) error {
			var ready int64
			err := scan(&ready)
			at, ok = fromMicros(ready), true
			return err
		}, handler)
	return at, ok, err
}

// DelayedMessages implements store.Delayed.
func (s *Store) DelayedMessages(ctx context.Context, handler string, after int64, n int) (messages []store.DelayedMessage, err error) {
	err = s.view(ctx, "list delayed messages", "SELECT "+delayedColumns+" FROM delayed WHERE handler = $1 AND id > $2 ORDER BY id LIMIT $3",
		func(scan func(...any) error) error {
			m, err := scanDelayed(scan)
			messages = append(messages, m)
			return err
		}, handler, after, store.PageSize(n))
	return messages, err
}
