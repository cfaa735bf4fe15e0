package sqlstore

import (
	"context"
	"fmt"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const insertLetter = `
INSERT INTO dead_letter (handler, message, twin, state, version, topic, subscription, part, place, msg_key, correlation,
	reason, error, error_type, stack, fingerprint, attempts, first_at, last_at, deaths, replays, note,
	buried_at, changed_at, expires_at, edited, form, headers, payload, parked)
VALUES ($1, $2, $3, 'DEAD', 1, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, 1, $18, '', $19, $19, 0, 0, $20, $21, $22, $23)
ON CONFLICT (handler, message, twin) `

const anotherDeath = `DO UPDATE SET
	state = 'DEAD', version = dead_letter.version + 1, topic = excluded.topic, subscription = excluded.subscription,
	part = excluded.part, place = excluded.place, msg_key = excluded.msg_key, correlation = excluded.correlation,
	reason = excluded.reason, error = excluded.error, error_type = excluded.error_type, stack = excluded.stack,
	fingerprint = excluded.fingerprint, attempts = excluded.attempts, first_at = excluded.first_at, last_at = excluded.last_at,
	parked = excluded.parked, deaths = dead_letter.deaths + 1, changed_at = excluded.changed_at, expires_at = 0,
	replays = CASE WHEN dead_letter.replays > excluded.replays THEN dead_letter.replays ELSE excluded.replays END,
	form = CASE dead_letter.edited WHEN 1 THEN dead_letter.form ELSE excluded.form END,
	headers = CASE dead_letter.edited WHEN 1 THEN dead_letter.headers ELSE excluded.headers END,
	payload = CASE dead_letter.edited WHEN 1 THEN dead_letter.payload ELSE excluded.payload END`

// Bury implements store.DeadLetters.
func (s *Store) Bury(l store.DeadLetter) pipeline.Write {
	return s.write("bury dead letter", func(tx Tx) error {
		b, err := s.burial(l)
		if err != nil {
			return err
		}
		if fresh, err := b.note(tx); err != nil || !fresh {
			return err
		}
		if err := b.join(tx); err != nil {
			return err
		}
		_, err = b.insert(tx, s, anotherDeath)
		return err
	})
}

// ImportLetters implements store.DeadLetters.
func (s *Store) ImportLetters(ctx context.Context, letters []store.DeadLetter, with func(fresh int) []pipeline.Write) (n int, err error) {
	err = s.update(ctx, "import dead letters", func(tx Tx) error {
		n = 0
		for _, l := range letters {
			b, err := s.burial(l)
			if err != nil {
				return err
			}
			fresh, err := b.insert(tx, s, "DO NOTHING")
			if err == nil && fresh {
				n++
				_, err = b.note(tx)
			}
			if err != nil {
				return err
			}
		}
		if n == 0 {
			return nil
		}
		return all(tx, with(n))
	})
	return n, err
}

// burial is a letter on its way into the store.
type burial struct {
	store.DeadLetter
	message, copy, twin string
}

// burial makes text of what may come from headers that somebody else wrote.
func (s *Store) burial(l store.DeadLetter) (burial, error) {
	l.Handler = show(l.Handler)
	if l.Handler == "" || l.Message == "" || l.Copy == "" {
		return burial{}, fmt.Errorf("%w: a letter has a handler, a message's id and a copy", store.ErrInvalid)
	}
	b := burial{DeadLetter: l, message: indexed(l.Message), copy: encodeText(l.Copy)}
	if l.Headers[pipeline.MetaIDSource] == pipeline.IDSourceContent {
		b.twin = b.copy
	}
	return b, nil
}

// join gives what is another death of a letter that was replayed that one's
// twin.
func (b *burial) join(tx Tx) error {
	if b.twin == "" {
		return nil
	}
	_, err := one(tx, "SELECT twin FROM dead_letter WHERE id = $1 AND handler = $2 AND message = $3", []any{&b.twin}, b.ID, b.Handler, b.message)
	return err
}

// note remembers the copy, and reports whether it is new.
func (b burial) note(tx Tx) (bool, error) {
	fresh, err := tx.Exec("INSERT INTO dead_copy (handler, message, copy) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", b.Handler, b.message, b.copy)
	return fresh > 0, err
}

// insert keeps the letter, or does to the one that is there what other says.
func (b burial) insert(tx Tx, s *Store, other string) (bool, error) {
	headers, err := encodeHeaders(b.Headers)
	if err != nil {
		return false, err
	}
	now, err := s.clock(tx)
	if err != nil {
		return false, err
	}
	changed, err := tx.Exec(insertLetter+other, b.Handler, b.message, b.twin, show(b.Topic), show(b.Subscription), int64(b.Partition), b.Offset,
		encodeText(b.Key), encodeText(b.Correlation), show(string(b.Reason)), show(b.Error), show(b.ErrorType), show(b.Stack),
		show(b.Fingerprint), b.Attempts, micros(b.First), micros(b.Last), b.Replays, micros(now),
		formOf(b.Payload), headers, bytesOf(b.Payload), truth(b.Parked))
	return changed > 0, err
}
