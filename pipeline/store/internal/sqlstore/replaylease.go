package sqlstore

import (
	"context"
	"crypto/rand"
	"fmt"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// LeaseReplay implements store.Replays.
func (s *Store) LeaseReplay(ctx context.Context, ttl time.Duration) (l store.ReplayLease, ok bool, err error) {
	l.Token = rand.Text()
	err = s.update(ctx, "lease replay", func(tx Tx) error {
		ok = false
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		return tx.Query(`
			WITH free AS MATERIALIZED (
				SELECT id FROM replay_run WHERE (state = 'running' OR sent > 0) AND until <= $1 ORDER BY id LIMIT 1`+s.dialect.SkipLocked()+`
			)
			UPDATE replay_run SET token = $2, until = $3 WHERE id IN (SELECT id FROM free) RETURNING `+runColumns,
			func(scan func(...any) error) (err error) {
				ok = true
				l.Replay, err = scanRun(scan)
				return err
			}, micros(now), l.Token, micros(now.Add(ttl)))
	})
	return l, ok, err
}

// ReleaseReplay implements store.Replays.
func (s *Store) ReleaseReplay(ctx context.Context, l store.ReplayLease) error {
	return s.update(ctx, "release replay", func(tx Tx) error {
		_, err := tx.Exec(`UPDATE replay_run SET token = '', until = 0, problem = CASE state WHEN 'running' THEN $3 ELSE problem END
			WHERE id = $1 AND token = $2`, l.ID, l.Token, show(l.Problem))
		return err
	})
}

// settle finds what became of letters that were sent. One that died again has
// a death more, whatever happened to it since; one that is gone cannot be
// told to have succeeded.
const settle = `
WITH known AS MATERIALIZED (
	SELECT i.pos, CASE WHEN l.deaths = i.deaths AND l.state = 'COMPLETED' THEN 'completed' ELSE 'dead' END AS became,
		CASE WHEN l.id IS NULL THEN 'its letter is gone' ELSE '' END AS why
	FROM replay_item i LEFT JOIN dead_letter l ON l.id = i.letter
	WHERE i.run = $1 AND i.state = 'sent' AND (l.id IS NULL OR l.deaths > i.deaths OR l.state <> 'REPLAYING') ORDER BY i.pos LIMIT $2
)
UPDATE replay_item SET state = known.became, why = known.why FROM known WHERE run = $1 AND replay_item.pos = known.pos RETURNING state`

// FollowReplay implements store.Replays.
func (s *Store) FollowReplay(ctx context.Context, l store.ReplayLease, ttl time.Duration) (run store.Replay, err error) {
	err = s.update(ctx, "follow replay", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		held, err := tx.Exec("UPDATE replay_run SET until = $3 WHERE id = $1 AND token = $2", l.ID, l.Token, micros(now.Add(ttl)))
		if err == nil && held == 0 {
			err = store.ErrStaleToken
		}
		if err != nil {
			return err
		}
		completed, dead, err := outcomes(tx, l.ID)
		if err != nil {
			return err
		}
		return tx.Query(`UPDATE replay_run SET completed = completed + $2, dead = dead + $3, sent = sent - $2 - $3,
				changed_at = CASE WHEN $2 + $3 > 0 THEN $4 ELSE changed_at END,
				state = CASE WHEN state = 'running' AND reached >= n AND sent = $2 + $3 THEN 'done' ELSE state END
			WHERE id = $1 RETURNING `+runColumns, func(scan func(...any) error) (err error) {
			run, err = scanRun(scan)
			return err
		}, l.ID, completed, dead, micros(now))
	})
	return run, err
}

func outcomes(tx Tx, run int64) (completed, dead int64, err error) {
	err = tx.Query(settle, func(scan func(...any) error) error {
		var state store.ItemState
		if err := scan(&state); err != nil {
			return err
		}
		if state == store.ItemCompleted {
			completed++
		} else {
			dead++
		}
		return nil
	}, run, store.MaxPage)
	return completed, dead, err
}

// NextItems implements store.Replays.
func (s *Store) NextItems(ctx context.Context, l store.ReplayLease, n int) (next []store.Candidate, err error) {
	const what = "get next items of replay"
	var sizes []int64
	err = s.view(ctx, what, `SELECT l.pos, l.letter, l.seen, coalesce(length(d.payload), 0)
		FROM replay_run r JOIN replay_letter l ON l.selection = r.selection LEFT JOIN dead_letter d ON d.id = l.letter
		WHERE r.id = $1 AND l.pos > r.reached ORDER BY l.pos LIMIT $2`, func(scan func(...any) error) error {
		c := store.Candidate{ReplayItem: store.ReplayItem{State: store.ItemPending}}
		var size int64
		err := scan(&c.Place, &c.Letter, &c.Seen, &size)
		next, sizes = append(next, c), append(sizes, size)
		return err
	}, l.ID, limit(n))
	if err != nil || len(next) == 0 {
		return next, err
	}
	next = next[:fitting(sizes)]
	letters, err := s.lettersAt(ctx, what, l.Selection, next[0].Place-1, next[len(next)-1].Place)
	if err != nil {
		return nil, err
	}
	for i := range next {
		if len(letters) > 0 && letters[0].ID == next[i].Letter {
			next[i].Now, letters = &letters[0], letters[1:]
		}
	}
	return next, nil
}

// AdvanceReplay implements store.Replays.
func (s *Store) AdvanceReplay(l store.ReplayLease, items []store.ReplayItem) pipeline.Write {
	return s.write("advance replay", func(tx Tx) error {
		if len(items) == 0 {
			return nil
		}
		counts := make(map[store.ItemState]int)
		rows := make([][]any, len(items))
		for i, item := range items {
			if item.Place != items[0].Place+int64(i) {
				return fmt.Errorf("%w: place %d is not behind %d", store.ErrInvalid, item.Place, items[0].Place)
			}
			counts[item.State]++
			rows[i] = []any{l.ID, item.Place, item.Letter, string(item.State), show(item.Why), item.Deaths}
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		advanced, err := tx.Exec(`UPDATE replay_run SET reached = reached + $4, sent = sent + $5, completed = completed + $6, skipped = skipped + $7,
				changed_at = $8, problem = CASE state WHEN 'running' THEN '' ELSE problem END
			WHERE id = $1 AND token = $2 AND reached = $3 AND (state = 'running' OR $5 = 0)`,
			l.ID, l.Token, items[0].Place-1, len(items), counts[store.ItemSent], counts[store.ItemCompleted], counts[store.ItemSkipped], micros(now))
		if err == nil && advanced == 0 {
			err = store.ErrStaleToken
		}
		if err != nil {
			return err
		}
		return insertRows(tx, "INSERT INTO replay_item (run, pos, letter, state, why, deaths)", rows)
	})
}
