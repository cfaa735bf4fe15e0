package sqlstore

import (
	"fmt"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// A parked message is that of a dead letter that holds its key. There is at
// most one of a handler, message and key: only the first of a key runs and so
// dies.

// Requeue implements store.Delayed.
func (s *Store) Requeue(m store.DelayedMessage) pipeline.Write {
	m.Replay, m.Parked = true, false
	return s.write("requeue message", func(tx Tx) error {
		headers, err := encodeHeaders(m.Headers)
		if err != nil {
			return err
		}
		if m.Due.IsZero() {
			if m.Due, err = s.clock(tx); err != nil {
				return err
			}
		}
		n, err := tx.Exec(`UPDATE delayed SET parked = 0, replay = 1, due_at = $3, ready_at = $3, attempts = $4, rounds = $5, first_at = $6,
			reason = $7, error = $8, replays = $9, letter = $10, headers = $11, payload = $12
			WHERE parked = 1 AND id = (SELECT max(id) FROM delayed WHERE handler = $1 AND message = $2 AND parked = 1)`,
			m.Handler, indexed(m.Message), micros(m.Due), m.Attempts, m.Rounds, micros(m.First), string(m.Reason), show(m.Error),
			m.Replays, m.Letter, headers, bytesOf(m.Payload))
		if err != nil {
			return err
		}
		if n > 0 {
			return s.unpark(tx, m.Handler, m.Message)
		}
		n, err = s.put(tx, m)
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: its message is still under way: replay it when that has ended", store.ErrConflict)
		}
		return err
	})
}

// Unpark implements store.Delayed.
func (s *Store) Unpark(handler, message string) pipeline.Write {
	return s.write("unpark message", func(tx Tx) error { return s.unpark(tx, handler, message) })
}

func (s *Store) unpark(tx Tx, handler, message string) error {
	var parked []store.DelayedMessage
	err := tx.Query("SELECT id, msg_key FROM delayed WHERE handler = $1 AND message = $2 AND parked = 1 ORDER BY id",
		func(scan func(...any) error) error {
			m := store.DelayedMessage{Handler: handler}
			err := scan(&m.ID, &m.Key)
			m.Key = decodeText(m.Key)
			parked = append(parked, m)
			return err
		}, handler, indexed(message))
	for _, m := range parked {
		if err == nil {
			err = s.remove(tx, m)
		}
	}
	return err
}

// remove removes a parked message, unless it was requeued meanwhile.
func (s *Store) remove(tx Tx, m store.DelayedMessage) error {
	if err := s.lock(tx, m); err != nil {
		return err
	}
	n, err := tx.Exec("DELETE FROM delayed WHERE id = $1 AND parked = 1", m.ID)
	if err != nil || n == 0 || !ordered(m) {
		return err
	}
	return letGo(tx, m)
}

// Withdraw implements store.Delayed.
func (s *Store) Withdraw(l store.DeadLetter) pipeline.Write {
	return s.write("withdraw replayed message", func(tx Tx) error {
		m := store.DelayedMessage{Handler: l.Handler}
		var overtake int64
		found, err := one(tx, `SELECT id, msg_key, overtake FROM delayed WHERE handler = $1 AND message = $2 AND letter = $3 AND replay = 1
			ORDER BY id LIMIT 1`, []any{&m.ID, &m.Key, &overtake}, l.Handler, indexed(l.Message), l.ID)
		if err != nil || !found {
			return err
		}
		m.Key, m.Overtake = decodeText(m.Key), overtake == 1
		if ordered(m) {
			if err := s.lock(tx, m); err != nil {
				return err
			}
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		n, err := tx.Exec("DELETE FROM delayed WHERE id = $1 AND parked = 0 AND (token = '' OR ready_at <= $2)", m.ID, micros(now))
		if err == nil && n == 0 {
			err = fmt.Errorf("%w: its handler has it in hand: ask again when that has ended", store.ErrConflict)
		}
		if err != nil || !ordered(m) {
			return err
		}
		return letGo(tx, m)
	})
}
