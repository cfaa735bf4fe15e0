package sqlstore

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const runColumns = "id, selection, options, actor, why, state, problem, started_at, changed_at, n, reached, sent, completed, dead, skipped, forgiven"

func scanRun(scan func(...any) error) (r store.Replay, err error) {
	var options string
	var started, changed, reached int64
	err = scan(&r.ID, &r.Selection, &options, &r.By, &r.Why, &r.State, &r.Problem, &started, &changed, &r.Count, &reached,
		&r.Sent, &r.Completed, &r.Dead, &r.Skipped, &r.Forgiven)
	if err != nil {
		return r, err
	}
	r.Pending, r.Started, r.Changed = r.Count-reached, fromMicros(started), fromMicros(changed)
	return r, json.Unmarshal([]byte(options), &r.Options)
}

// StartReplay implements store.Replays.
func (s *Store) StartReplay(ctx context.Context, r store.Replay, with func(store.Replay) []pipeline.Write) (run store.Replay, err error) {
	options, err := json.Marshal(r.Options)
	if err != nil {
		return run, wrap("start replay", err)
	}
	err = s.update(ctx, "start replay", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		var count int64
		// The lock keeps the selection from being removed meanwhile.
		found, err := one(tx, "UPDATE replay_selection SET at = $2 WHERE id = $1 AND ready = 1 RETURNING n", []any{&count}, r.Selection, micros(now))
		if err == nil && !found {
			err = fmt.Errorf("selection %d: %w: select the letters again", r.Selection, store.ErrNotFound)
		}
		if err != nil {
			return err
		}
		err = tx.Query(`INSERT INTO replay_run (selection, options, actor, why, state, problem, started_at, changed_at, n, reached,
				sent, completed, dead, skipped, forgiven, token, until)
			VALUES ($1, $2, $3, $4, 'running', '', $5, $5, $6, 0, 0, 0, 0, 0, 0, '', 0) RETURNING `+runColumns,
			func(scan func(...any) error) (err error) {
				run, err = scanRun(scan)
				return err
			}, r.Selection, string(options), show(r.By), show(r.Why), micros(now), count)
		if err != nil || with == nil {
			return err
		}
		return all(tx, with(run))
	})
	return run, err
}

// MoveReplay implements store.Replays.
func (s *Store) MoveReplay(ctx context.Context, m store.ReplayMove, with ...pipeline.Write) (run store.Replay, err error) {
	err = s.update(ctx, fmt.Sprintf("make replay %d %s", m.ID, m.To), func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		run = store.Replay{}
		err = tx.Query(`UPDATE replay_run SET state = $2, problem = $3, changed_at = $4,
				forgiven = CASE CAST($2 AS TEXT) WHEN 'running' THEN dead ELSE forgiven END
			WHERE id = $1 AND state IN (`+quotedRuns(store.ReplayFrom(m.To))+`) RETURNING `+runColumns, func(scan func(...any) error) (err error) {
			run, err = scanRun(scan)
			return err
		}, m.ID, string(m.To), show(m.Problem), micros(now))
		switch {
		case err != nil:
			return err
		case run.ID == 0:
			return notMoved(tx, m.ID)
		}
		return all(tx, with)
	})
	return run, err
}

func quotedRuns(states []store.ReplayState) string {
	parts := make([]string, 0, len(states)+1)
	for _, s := range states {
		parts = append(parts, "'"+string(s)+"'")
	}
	return strings.Join(append(parts, "''"), ", ")
}

// notMoved says why a replay's state was not changed.
func notMoved(tx Tx, id int64) error {
	var state string
	found, err := one(tx, "SELECT state FROM replay_run WHERE id = $1", []any{&state}, id)
	switch {
	case err != nil:
		return err
	case !found:
		return store.ErrNotFound
	}
	return fmt.Errorf("%w: it is %s", store.ErrConflict, state)
}

// ReplayRun implements store.Replays.
func (s *Store) ReplayRun(ctx context.Context, id int64) (run store.Replay, err error) {
	const what = "get replay"
	err = s.view(ctx, what, "SELECT "+runColumns+" FROM replay_run WHERE id = $1", func(scan func(...any) error) (err error) {
		run, err = scanRun(scan)
		return err
	}, id)
	if err == nil && run.ID == 0 {
		err = fmt.Errorf("%s %d: %w", what, id, store.ErrNotFound)
	}
	return run, err
}

// ReplayRuns implements store.Replays.
func (s *Store) ReplayRuns(ctx context.Context, q store.ReplayQuery) (page store.ReplayPage, err error) {
	const what = "list replays"
	size := store.PageSize(q.Limit)
	before, err := cursor(q.Cursor)
	if err != nil {
		return page, wrap(what, err)
	}
	err = s.view(ctx, what, "SELECT "+runColumns+" FROM replay_run WHERE id < $1 ORDER BY id DESC LIMIT $2", func(scan func(...any) error) error {
		r, err := scanRun(scan)
		page.Replays = append(page.Replays, r)
		return err
	}, before, size+1)
	if err == nil && len(page.Replays) > size {
		page.Replays = page.Replays[:size]
		page.Next = strconv.FormatInt(page.Replays[size-1].ID, 36)
	}
	return page, err
}

// ReplayItems implements store.Replays.
func (s *Store) ReplayItems(ctx context.Context, q store.ItemQuery) (items []store.ReplayItem, err error) {
	err = s.view(ctx, "list items of a replay", `
		SELECT l.pos, l.letter, l.seen, coalesce(i.state, 'pending'), coalesce(i.why, ''), coalesce(i.deaths, 0)
		FROM replay_run r JOIN replay_letter l ON l.selection = r.selection LEFT JOIN replay_item i ON i.run = r.id AND i.pos = l.pos
		WHERE r.id = $1 AND l.pos > $2 AND (CAST($3 AS TEXT) = '' OR coalesce(i.state, 'pending') = $3) ORDER BY l.pos LIMIT $4`,
		func(scan func(...any) error) error {
			var i store.ReplayItem
			err := scan(&i.Place, &i.Letter, &i.Seen, &i.State, &i.Why, &i.Deaths)
			items = append(items, i)
			return err
		}, q.Replay, q.After, string(q.State), store.PageSize(q.Limit))
	return items, err
}

// ExpireReplays implements store.Replays. Rows go first, what they belong to
// when they are gone.
func (s *Store) ExpireReplays(ctx context.Context, before time.Time, n int) (int, error) {
	const ended = "SELECT id FROM replay_run WHERE state IN ('done', 'cancelled') AND sent = 0 AND changed_at < $1"
	var gone int64
	err := s.update(ctx, "expire replays", func(tx Tx) error {
		_, err := tx.Exec(`UPDATE replay_selection SET ready = 0
			WHERE at < $1 AND ready = 1 AND NOT EXISTS (SELECT 1 FROM replay_run r WHERE r.selection = replay_selection.id)`, micros(before))
		if err != nil {
			return err
		}
		gone = 0
		for _, statement := range []string{
			"DELETE FROM replay_item WHERE (run, pos) IN (SELECT run, pos FROM replay_item WHERE run IN (" + ended + ") LIMIT $2)",
			"DELETE FROM replay_run WHERE id IN (" + ended + " AND NOT EXISTS (SELECT 1 FROM replay_item i WHERE i.run = replay_run.id) LIMIT $2)",
			"DELETE FROM replay_letter WHERE (selection, pos) IN (SELECT selection, pos FROM replay_letter" +
				" WHERE selection IN (SELECT id FROM replay_selection WHERE at < $1 AND ready = 0) LIMIT $2)",
			"DELETE FROM replay_selection WHERE id IN (SELECT id FROM replay_selection WHERE at < $1 AND ready = 0" +
				" AND NOT EXISTS (SELECT 1 FROM replay_letter l WHERE l.selection = replay_selection.id) LIMIT $2)",
		} {
			some, err := tx.Exec(statement, micros(before), int64(limit(n))-gone)
			if err != nil {
				return err
			}
			gone += some
		}
		return nil
	})
	return int(gone), err
}
