package sqlstore

import (
	"context"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const suspectColumns = "handler, message, topic, crashes, life, until_at, first_at, last_at"

func scanSuspect(scan func(...any) error) (s store.Suspect, err error) {
	var until, first, last int64
	err = scan(&s.Handler, &s.Message, &s.Topic, &s.Crashes, &s.Life, &until, &first, &last)
	s.Message = decodeText(s.Message)
	s.Until, s.First, s.Last = fromMicros(until), fromMicros(first), fromMicros(last)
	return s, err
}

// Accuse implements store.Suspects.
func (s *Store) Accuse(ctx context.Context, key store.SuspectKey, topic string) (suspect store.Suspect, err error) {
	err = s.update(ctx, "accuse message", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		// A row without a life has until_at 0.
		return tx.Query(`INSERT INTO suspect (handler, message, topic, crashes, life, until_at, first_at, last_at)
			VALUES ($1, $2, $3, 1, '', 0, $4, $4)
			ON CONFLICT (handler, message) DO UPDATE SET
				crashes = suspect.crashes + CASE WHEN suspect.life <> '' AND suspect.until_at <= $4 THEN 1 ELSE 0 END,
				last_at = CASE WHEN suspect.life <> '' AND suspect.until_at <= $4 THEN $4 ELSE suspect.last_at END,
				life = CASE WHEN suspect.until_at <= $4 THEN '' ELSE suspect.life END,
				until_at = CASE WHEN suspect.until_at <= $4 THEN 0 ELSE suspect.until_at END
			RETURNING `+suspectColumns,
			func(scan func(...any) error) error {
				suspect, err = scanSuspect(scan)
				return err
			}, key.Handler, encodeText(key.Message), topic, micros(now))
	})
	return suspect, err
}

// BeginRun implements store.Suspects.
func (s *Store) BeginRun(ctx context.Context, key store.SuspectKey, life string, ttl time.Duration) error {
	return s.update(ctx, "begin run of suspect", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		// Another copy of the message may have cleared it meanwhile.
		n, err := tx.Exec(`INSERT INTO suspect (handler, message, topic, crashes, life, until_at, first_at, last_at)
			VALUES ($1, $2, '', 1, $3, $4, $5, $5)
			ON CONFLICT (handler, message) DO UPDATE SET life = excluded.life, until_at = excluded.until_at
				WHERE suspect.life IN ('', excluded.life)`,
			key.Handler, encodeText(key.Message), life, micros(now.Add(ttl)), micros(now))
		if err == nil && n == 0 {
			err = store.ErrConflict
		}
		return err
	})
}

// ExtendRun implements store.Suspects.
func (s *Store) ExtendRun(ctx context.Context, key store.SuspectKey, life string, ttl time.Duration) error {
	return s.update(ctx, "extend run of suspect", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		n, err := tx.Exec("UPDATE suspect SET until_at = $4 WHERE handler = $1 AND message = $2 AND life = $3",
			key.Handler, encodeText(key.Message), life, micros(now.Add(ttl)))
		if err == nil && n == 0 {
			err = store.ErrStaleToken
		}
		return err
	})
}

// EndRun implements store.Suspects.
func (s *Store) EndRun(ctx context.Context, key store.SuspectKey, life string) error {
	return s.update(ctx, "end run of suspect", func(tx Tx) error {
		_, err := tx.Exec("UPDATE suspect SET life = '', until_at = 0 WHERE handler = $1 AND message = $2 AND life = $3",
			key.Handler, encodeText(key.Message), life)
		return err
	})
}

// ClearSuspect implements store.Suspects.
func (s *Store) ClearSuspect(key store.SuspectKey) pipeline.Write {
	return s.write("clear suspect", func(tx Tx) error {
		_, err := tx.Exec("DELETE FROM suspect WHERE handler = $1 AND message = $2", key.Handler, encodeText(key.Message))
		return err
	})
}

// EndLife implements store.Suspects.
func (s *Store) EndLife(ctx context.Context, life string, ran []store.Suspect) error {
	return s.update(ctx, "end life of process", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		for _, r := range ran {
			// One that is a suspect and was not running under this life was
			// counted before.
			_, err := tx.Exec(`INSERT INTO suspect (handler, message, topic, crashes, life, until_at, first_at, last_at)
				VALUES ($1, $2, $3, 1, '', 0, $4, $4)
				ON CONFLICT (handler, message) DO UPDATE SET
					crashes = suspect.crashes + 1, topic = excluded.topic, life = '', until_at = 0, last_at = excluded.last_at
					WHERE suspect.life = $5`,
				r.Handler, encodeText(r.Message), r.Topic, micros(now), life)
			if err != nil {
				return err
			}
		}
		_, err = tx.Exec("UPDATE suspect SET life = '', until_at = 0 WHERE life = $1", life)
		return err
	})
}

// Suspects implements store.Suspects.
func (s *Store) Suspects(ctx context.Context, since time.Time) (suspects []store.Suspect, err error) {
	err = s.view(ctx, "list suspects", "SELECT "+suspectColumns+" FROM suspect WHERE last_at >= $1 ORDER BY last_at DESC, handler, message LIMIT $2",
		func(scan func(...any) error) error {
			suspect, err := scanSuspect(scan)
			suspects = append(suspects, suspect)
			return err
		}, micros(since), store.MaxPage)
	return suspects, err
}

// ExpireSuspects implements store.Suspects.
func (s *Store) ExpireSuspects(ctx context.Context, before time.Time) (int, error) {
	var gone int64
	err := s.update(ctx, "expire suspects", func(tx Tx) (err error) {
		gone, err = tx.Exec("DELETE FROM suspect WHERE last_at < $1", micros(before))
		return err
	})
	return int(gone), err
}
