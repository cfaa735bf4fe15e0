package sqlstore

import (
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
		n, err := tx.Exec(`UPDATE delayed SET parked = 0, replay = 1, due_at = $3, ready_at = $3, attempts = $4, rounds = $5, first_at = $6,
			reason = $7, error = $8, replays = $9, letter = $10, headers = $11, payload = $12
			WHERE parked = 1 AND id = (SELECT max(id) FROM delayed WHERE handler = $1 AND message = $2 AND parked = 1)`,
			m.Handler, indexed(m.Message), micros(m.Due), m.Attempts, m.Rounds, micros(m.First), string(m.Reason), show(m.Error),
			m.Replays, m.Letter, headers, bytesOf(m.Payload))
		if err != nil {
			return err
		}
		if n == 0 {
			return s.put(tx, m)
		}
		return s.unpark(tx, m.Handler, m.Message)
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
