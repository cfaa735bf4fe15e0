package sqlstore

import (
	"context"
	"fmt"

	"github.com/waybill-dev/waybill/pipeline/pointer"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// Triggers keep dead_group and dead_count: the counts are right whatever
// statement changed a letter.
const selectGroups = `
SELECT g.handler, g.fingerprint, g.reason, g.error_type, g.error, g.note, g.first_at, g.last_at, c.dead, c.replaying, c.archived, c.completed
FROM dead_group g JOIN (
	SELECT handler, fingerprint,
		CAST(sum(CASE state WHEN 'DEAD' THEN n ELSE 0 END) AS BIGINT) AS dead,
		CAST(sum(CASE state WHEN 'REPLAYING' THEN n ELSE 0 END) AS BIGINT) AS replaying,
		CAST(sum(CASE state WHEN 'ARCHIVED' THEN n ELSE 0 END) AS BIGINT) AS archived,
		CAST(sum(CASE state WHEN 'COMPLETED' THEN n ELSE 0 END) AS BIGINT) AS completed
	FROM dead_count WHERE n > 0 GROUP BY handler, fingerprint
) c ON c.handler = g.handler AND c.fingerprint = g.fingerprint
WHERE (CAST($1 AS TEXT) = '' OR g.handler = $1) AND ($2 = 1 OR c.dead + c.replaying > 0)
ORDER BY g.last_at DESC, g.handler, g.fingerprint LIMIT $3`

// Groups implements store.DeadLetters.
func (s *Store) Groups(ctx context.Context, q store.GroupQuery) (groups []store.Group, err error) {
	err = s.view(ctx, "list groups", selectGroups, func(scan func(...any) error) error {
		var g store.Group
		var first, last, dead, replaying, archived, completed int64
		err := scan(&g.Handler, &g.Fingerprint, &g.Reason, &g.ErrorType, &g.Error, &g.Note, &first, &last, &dead, &replaying, &archived, &completed)
		g.First, g.Last = fromMicros(first), fromMicros(last)
		g.Counts = map[store.State]int64{store.Dead: dead, store.Replaying: replaying, store.Archived: archived, store.Completed: completed}
		groups = append(groups, g)
		return err
	}, q.Handler, truth(q.All), store.PageSize(q.Limit))
	return groups, err
}

// LetterCounts implements store.DeadLetters.
func (s *Store) LetterCounts(ctx context.Context) (counts map[string]map[store.State]int64, err error) {
	counts = make(map[string]map[store.State]int64)
	err = s.view(ctx, "count dead letters", "SELECT handler, state, CAST(sum(n) AS BIGINT) FROM dead_count GROUP BY handler, state",
		func(scan func(...any) error) error {
			var handler string
			var state store.State
			var n int64
			err := scan(&handler, &state, &n)
			if counts[handler] == nil {
				counts[handler] = make(map[store.State]int64)
			}
			counts[handler][state] = n
			return err
		})
	return counts, err
}

// GroupBy implements store.DeadLetters.
func (s *Store) GroupBy(ctx context.Context, f store.Filter, by store.By) (groups []store.ValueGroup, err error) {
	const what = "group dead letters"
	if (by.Header == "") == (by.Pointer == "") {
		return nil, fmt.Errorf("%s: %w: by a header or a pointer", what, store.ErrInvalid)
	}
	if err := pointer.Check(by.Pointer); err != nil {
		return nil, fmt.Errorf("%s: %w: %w", what, store.ErrInvalid, err)
	}
	where, args, err := s.where(letterColumns, f, store.MaxPage)
	if err != nil {
		return nil, wrap(what, err)
	}
	b := &builder{dialect: s.dialect, columns: letterColumns, args: args}
	value := ""
	if by.Header != "" {
		value = s.dialect.Header(letterColumns.headers, b.text(encodeText(by.Header)))
	} else {
		value = s.dialect.Pointer(letterColumns.form, letterColumns.payload, by.Pointer, "")
	}
	query := "SELECT v, count(*), min(first_at), max(last_at) FROM (SELECT " + value + " AS v, first_at, last_at FROM dead_letter WHERE " + where +
		") x GROUP BY v ORDER BY count(*) DESC, v LIMIT $1"
	err = s.view(ctx, what, query, func(scan func(...any) error) error {
		var g store.ValueGroup
		var text *string
		var first, last int64
		err := scan(&text, &g.Count, &first, &last)
		if g.Missing = text == nil; !g.Missing {
			g.Value = decodeText(*text)
		}
		g.First, g.Last = fromMicros(first), fromMicros(last)
		groups = append(groups, g)
		return err
	}, b.args...)
	return groups, err
}
