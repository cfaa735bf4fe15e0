package sqlstore

import (
	"context"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// EditLetter implements store.DeadLetters.
func (s *Store) EditLetter(ctx context.Context, id, version int64, c store.Content, with ...pipeline.Write) (int64, error) {
	headers, err := encodeHeaders(c.Headers)
	if err != nil {
		return 0, wrap("edit dead letter", err)
	}
	err = s.update(ctx, "edit dead letter", func(tx Tx) error {
		// Two at a time: both see the version, the second waits here for the
		// first and changes nothing below.
		_, err := tx.Exec(`INSERT INTO dead_original (id, headers, payload)
			SELECT id, headers, payload FROM dead_letter WHERE id = $1 AND version = $2 AND state = 'DEAD' ON CONFLICT DO NOTHING`, id, version)
		if err != nil {
			return err
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		edited, err := tx.Exec(`UPDATE dead_letter SET headers = $3, payload = $4, form = $5, edited = 1, version = version + 1, changed_at = $6
			WHERE id = $1 AND version = $2 AND state = 'DEAD'`, id, version, headers, bytesOf(c.Payload), formOf(c.Payload), micros(now))
		switch {
		case err != nil:
			return err
		case edited == 0:
			return refused(tx, id)
		}
		return all(tx, with)
	})
	return version + 1, err
}

// Original implements store.DeadLetters.
func (s *Store) Original(ctx context.Context, id int64) (c store.Content, err error) {
	found := false
	err = s.view(ctx, "get original", `
		SELECT coalesce(o.headers, l.headers), coalesce(o.payload, l.payload)
		FROM dead_letter l LEFT JOIN dead_original o ON o.id = l.id WHERE l.id = $1`, func(scan func(...any) error) error {
		var headers string
		if err := scan(&headers, &c.Payload); err != nil {
			return err
		}
		found = true
		c.Headers, err = decodeHeaders(headers)
		return err
	}, id)
	if err == nil && !found {
		err = wrap("get original", store.ErrNotFound)
	}
	return c, err
}

// NoteLetter implements store.DeadLetters.
func (s *Store) NoteLetter(ctx context.Context, id int64, text string, with ...pipeline.Write) error {
	return s.note(ctx, with, "UPDATE dead_letter SET note = $1, version = version + 1 WHERE id = $2", show(text), id)
}

// NoteGroup implements store.DeadLetters.
func (s *Store) NoteGroup(ctx context.Context, handler, fingerprint, text string, with ...pipeline.Write) error {
	return s.note(ctx, with, "UPDATE dead_group SET note = $1 WHERE handler = $2 AND fingerprint = $3", show(text), handler, fingerprint)
}

func (s *Store) note(ctx context.Context, with []pipeline.Write, statement string, args ...any) error {
	return s.update(ctx, "set note", func(tx Tx) error {
		noted, err := tx.Exec(statement, args...)
		switch {
		case err != nil:
			return err
		case noted == 0:
			return store.ErrNotFound
		}
		return all(tx, with)
	})
}
