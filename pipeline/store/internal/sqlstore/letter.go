package sqlstore

import (
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

var letterColumns = columns{
	texts: map[store.Field]string{
		store.FieldMessage: "message", store.FieldHandler: "handler", store.FieldTopic: "topic", store.FieldKey: "msg_key",
		store.FieldCorrelation: "correlation", store.FieldState: "state", store.FieldReason: "reason",
		store.FieldError: "error", store.FieldErrorType: "error_type", store.FieldFingerprint: "fingerprint",
		store.FieldParked: "(CASE parked WHEN 1 THEN 'true' ELSE 'false' END)",
	},
	time: "last_at", headers: "headers", form: "form", payload: "payload", text: "error",
	// Their indexes leave nothing out; none of them is "" in a letter that somebody looks for.
	usual: map[store.Field]string{store.FieldMessage: "", store.FieldHandler: "", store.FieldFingerprint: "", store.FieldState: ""},
}

const letterFields = `id, handler, message, twin, state, version, topic, subscription, part, place, msg_key, correlation, reason, error, error_type,
	fingerprint, attempts, first_at, last_at, deaths, replays, note, buried_at, changed_at, expires_at, edited, parked, `

const (
	bareFields  = letterFields + "'', '{}', NULL "
	wholeLetter = "SELECT " + letterFields + "stack, headers, payload FROM dead_letter "
	bareLetter  = "SELECT " + bareFields + "FROM dead_letter "
)

func scanLetter(scan func(...any) error) (l store.DeadLetter, err error) {
	var first, last, buried, changed, expires, edited, parked int64
	var headers string
	err = scan(&l.ID, &l.Handler, &l.Message, &l.Copy, &l.State, &l.Version, &l.Topic, &l.Subscription, &l.Partition, &l.Offset, &l.Key,
		&l.Correlation, &l.Reason, &l.Error, &l.ErrorType, &l.Fingerprint, &l.Attempts, &first, &last, &l.Deaths, &l.Replays,
		&l.Note, &buried, &changed, &expires, &edited, &parked, &l.Stack, &headers, &l.Payload)
	if err != nil {
		return l, err
	}
	l.Message, l.Key, l.Correlation = decodeText(l.Message), decodeText(l.Key), decodeText(l.Correlation)
	l.Copy = decodeText(l.Copy)
	l.First, l.Last = fromMicros(first), fromMicros(last)
	l.Buried, l.Changed, l.Expires = fromMicros(buried), fromMicros(changed), fromMicros(expires)
	l.Edited, l.Parked = edited == 1, parked == 1
	l.Headers, err = decodeHeaders(headers)
	return l, err
}

// Letter implements store.DeadLetters.
func (s *Store) Letter(ctx context.Context, id int64) (l store.DeadLetter, err error) {
	const what = "get dead letter"
	err = s.view(ctx, what, wholeLetter+"WHERE id = $1", func(scan func(...any) error) (err error) {
		l, err = scanLetter(scan)
		return err
	}, id)
	if err == nil && l.ID == 0 {
		err = fmt.Errorf("%s %d: %w", what, id, store.ErrNotFound)
	}
	return l, err
}

// Letters implements store.DeadLetters. It finds the page first, and then reads
// as many of its letters as it has room for.
func (s *Store) Letters(ctx context.Context, q store.LetterQuery) (page store.LetterPage, err error) {
	const what = "list dead letters"
	size := store.PageSize(q.Limit)
	from, err := cursor(q.Cursor)
	if err != nil {
		return page, wrap(what, err)
	}
	behind, order := "id < $1", " ORDER BY id DESC"
	if q.Oldest {
		behind, order = "id > $1", " ORDER BY id"
		if q.Cursor == "" {
			from = 0
		}
	}
	where, args, err := s.where(letterColumns, q.Filter, from)
	if err != nil {
		return page, wrap(what, err)
	}
	where = behind + " AND " + where
	find := "SELECT id, length(payload) FROM dead_letter WHERE " + where + order
	ids, next, err := s.pageOf(ctx, what, find, args, size, q.Bare)
	if err != nil || len(ids) == 0 {
		return page, err
	}
	page.Next = next
	query := wholeLetter
	if q.Bare {
		query = bareLetter
	}
	// The condition again: a letter may have changed since.
	err = s.view(ctx, what, query+"WHERE id IN ("+listed(ids)+") AND "+where+order, func(scan func(...any) error) error {
		l, err := scanLetter(scan)
		page.Letters = append(page.Letters, l)
		return err
	}, args...)
	return page, err
}

// pageOf runs a query for ids and bytes, and returns the ids that a page has
// room for and the cursor of the next page.
func (s *Store) pageOf(ctx context.Context, what, query string, args []any, size int, bare bool) (ids []int64, next string, err error) {
	var sizes []int64
	err = s.view(ctx, what, query+" LIMIT "+strconv.Itoa(size+1), func(scan func(...any) error) error {
		var id, bytes int64
		err := scan(&id, &bytes)
		ids, sizes = append(ids, id), append(sizes, bytes)
		return err
	}, args...)
	n := min(len(ids), size)
	if !bare {
		n = fitting(sizes[:n])
	}
	if n < len(ids) {
		next = strconv.FormatInt(ids[n-1], 36)
	}
	return ids[:n], next, err
}

// fitting returns how many rows of these sizes a page has room for.
func fitting(sizes []int64) int {
	sum := int64(0)
	for i, size := range sizes {
		if sum += size; sum > store.PageBytes && i > 0 {
			return i
		}
	}
	return len(sizes)
}

// cursor returns the id behind which a page begins, newest first.
func cursor(text string) (int64, error) {
	if text == "" {
		return 1<<63 - 1, nil
	}
	id, err := strconv.ParseInt(text, 36, 64)
	if err != nil {
		return 0, fmt.Errorf("%w: %q is no cursor of ours: begin with the first page", store.ErrInvalid, text)
	}
	return id, nil
}

// CountLetters implements store.DeadLetters.
func (s *Store) CountLetters(ctx context.Context, f store.Filter) (n int64, err error) {
	const what = "count dead letters"
	where, args, err := s.where(letterColumns, f)
	if err != nil {
		return 0, wrap(what, err)
	}
	err = s.view(ctx, what, "SELECT count(*) FROM dead_letter WHERE "+where, func(scan func(...any) error) error {
		return scan(&n)
	}, args...)
	return n, err
}

// MoveLetter implements store.DeadLetters.
func (s *Store) MoveLetter(m store.Move) pipeline.Write {
	return s.write(fmt.Sprintf("move dead letter %d to %s", m.ID, m.To), func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		moved, err := tx.Exec(`UPDATE dead_letter SET state = $2, version = version + 1, changed_at = $3, expires_at = $4, replays = replays + $5
			WHERE id = $1 AND state IN (`+quoted(store.From(m.To))+`) AND (CAST($6 AS BIGINT) = 0 OR version = $6)`,
			m.ID, string(m.To), micros(now), expires(m.To, m.Expires), truth(m.To == store.Replaying), m.Version)
		if err != nil || moved == 1 {
			return err
		}
		return refused(tx, m.ID)
	})
}

// quoted lists states for IN. None is not in any.
func quoted(states []store.State) string {
	parts := make([]string, 0, len(states)+1)
	for _, s := range states {
		parts = append(parts, "'"+string(s)+"'")
	}
	return strings.Join(append(parts, "''"), ", ")
}

// expires is when a letter may go: only an archived one.
func expires(to store.State, at time.Time) int64 {
	if to != store.Archived {
		return 0
	}
	return micros(at)
}

// refused says why a letter was not changed.
func refused(tx Tx, id int64) error {
	var state string
	var version int64
	found, err := one(tx, "SELECT state, version FROM dead_letter WHERE id = $1", []any{&state, &version}, id)
	switch {
	case err != nil:
		return err
	case !found:
		return store.ErrNotFound
	}
	return fmt.Errorf("%w: it is %s, in version %d: look at it again", store.ErrConflict, state, version)
}

// MoveLetters implements store.DeadLetters. A reader finds them, which may take
// a look at each letter: SQLite's one writer has better to do.
func (s *Store) MoveLetters(ctx context.Context, m store.MoveAll) (n int, err error) {
	what := fmt.Sprintf("move dead letters to %s", m.To)
	if !store.CanMove(m.From, m.To) {
		return 0, fmt.Errorf("%s: %w: not from %s", what, store.ErrConflict, m.From)
	}
	where, args, err := s.where(letterColumns, m.Filter, string(m.From), upTo(m.UpTo))
	if err != nil {
		return 0, wrap(what, err)
	}
	var ids []int64
	err = s.view(ctx, what, "SELECT id FROM dead_letter WHERE state = $1 AND id <= $2 AND "+where+" ORDER BY id", func(scan func(...any) error) error {
		var id int64
		err := scan(&id)
		ids = append(ids, id)
		return err
	}, args...)
	if err != nil {
		return 0, err
	}
	for chunk := range slices.Chunk(ids, limit(m.Limit)) {
		moved, err := s.moveSome(ctx, what, m, chunk)
		if err != nil {
			return n, err
		}
		n += moved
	}
	return n, nil
}

// moveSome moves those of the letters that are still in m.From, in one
// transaction.
func (s *Store) moveSome(ctx context.Context, what string, m store.MoveAll, ids []int64) (int, error) {
	var moved []store.DeadLetter
	err := s.update(ctx, what, func(tx Tx) error {
		moved = nil
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		err = tx.Query(`UPDATE dead_letter SET state = $1, version = version + 1, changed_at = $2, expires_at = $3, replays = replays + $4
			WHERE state = $5 AND id IN (`+listed(ids)+`) RETURNING `+bareFields, func(scan func(...any) error) error {
			l, err := scanLetter(scan)
			moved = append(moved, l)
			return err
		}, string(m.To), micros(now), expires(m.To, m.Expires), truth(m.To == store.Replaying), string(m.From))
		if err != nil || m.With == nil || len(moved) == 0 {
			return err
		}
		return all(tx, m.With(moved))
	})
	return len(moved), err
}

// listed writes ids for IN.
func listed(ids []int64) string {
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = strconv.FormatInt(id, 10)
	}
	return strings.Join(texts, ", ")
}

// upTo is the newest id that is meant.
func upTo(id int64) int64 {
	if id == 0 {
		return math.MaxInt64
	}
	return id
}

// CloseLetter implements store.DeadLetters.
func (s *Store) CloseLetter(handler, message string, letter int64) pipeline.Write {
	return s.write("close dead letter", func(tx Tx) error {
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(`UPDATE dead_letter SET state = 'COMPLETED', version = version + 1, changed_at = $3
			WHERE handler = $1 AND message = $2 AND (twin = '' OR id = $4) AND state IN ('DEAD', 'REPLAYING')`,
			handler, indexed(message), micros(now), letter)
		return err
	})
}

// ExpireLetters implements store.DeadLetters.
func (s *Store) ExpireLetters(ctx context.Context, e store.Expiry) (int, error) {
	var gone int64
	err := s.update(ctx, "expire dead letters", func(tx Tx) (err error) {
		gone, err = tx.Exec(`DELETE FROM dead_letter WHERE id IN (SELECT id FROM dead_letter
			WHERE state = 'ARCHIVED' AND expires_at > 0 AND expires_at <= $1 OR state = 'COMPLETED' AND changed_at < $2 ORDER BY id LIMIT $3)`,
			micros(e.Now), micros(e.Completed), limit(e.Limit))
		return err
	})
	return int(gone), err
}
