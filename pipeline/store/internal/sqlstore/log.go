package sqlstore

import (
	"context"
	"fmt"
	"strings"

	"github.com/waybill-dev/waybill/pipeline/store"
)

// Log is a store.Log. With SQLite its database is a file of its own.
type Log struct{ s *Store }

// NewLog returns the log on db.
func NewLog(db Database, dialect Dialect, opts store.Options) *Log {
	return &Log{New(db, dialect, opts)}
}

var logColumns = columns{
	texts: map[store.Field]string{
		store.FieldMessage: "message", store.FieldHandler: "handler", store.FieldTopic: "topic", store.FieldKey: "msg_key",
		store.FieldCorrelation: "correlation", store.FieldState: "state", store.FieldReason: "reason", store.FieldError: "error",
	},
	time: "at", headers: "headers", form: "form", payload: "payload", text: "(error || ' ' || attempts)",
	usual: map[store.Field]string{
		store.FieldMessage: "", store.FieldKey: "", store.FieldCorrelation: "", store.FieldState: string(store.Completed),
	},
}

const insertEntry = `
INSERT INTO message_log (handler, message, state, topic, subscription, part, place, msg_key, correlation, causation, reason, error, at,
	size, kept, outputs, attempts, form, headers, payload)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20)
ON CONFLICT (message, handler) DO UPDATE SET
	state = excluded.state, reason = excluded.reason, error = excluded.error, at = excluded.at,
	outputs = CASE excluded.outputs WHEN '' THEN message_log.outputs ELSE excluded.outputs END,
	attempts = message_log.attempts || excluded.attempts,
	kept = message_log.kept + length(excluded.attempts) + CASE length(message_log.payload) WHEN 0 THEN length(excluded.payload) ELSE 0 END,
	form = CASE length(excluded.payload) WHEN 0 THEN message_log.form ELSE excluded.form END,
	headers = CASE length(excluded.payload) WHEN 0 THEN message_log.headers ELSE excluded.headers END,
	payload = CASE length(excluded.payload) WHEN 0 THEN message_log.payload ELSE excluded.payload END`

// AppendLog implements store.Log.
func (l *Log) AppendLog(ctx context.Context, entries []store.LogEntry) error {
	return l.s.update(ctx, "append to the message log", func(tx Tx) error {
		for _, e := range entries {
			if err := appendEntry(tx, e); err != nil {
				return err
			}
		}
		return nil
	})
}

func appendEntry(tx Tx, e store.LogEntry) error {
	headers, err := encodeHeaders(e.Headers)
	if err != nil {
		return err
	}
	attempts, err := encodeAttempts(e.Attempts)
	if err != nil {
		return err
	}
	_, err = tx.Exec(insertEntry, e.Handler, encodeText(e.Message), string(e.State), e.Topic, e.Subscription, int64(e.Partition), e.Offset,
		encodeText(e.Key), encodeText(e.Correlation), encodeText(e.Causation), string(e.Reason), show(e.Error), micros(e.At),
		e.Size, len(e.Payload)+len(headers)+len(attempts), strings.Join(e.Outputs, "\n"), attempts, formOf(e.Payload), headers, bytesOf(e.Payload))
	return err
}

const (
	selectEntry = `SELECT id, handler, message, state, topic, subscription, part, place, msg_key, correlation, causation, reason, error, at, size, outputs, `
	wholeEntry  = selectEntry + "attempts, headers, payload FROM message_log "
	bareEntry   = selectEntry + "'', '{}', NULL FROM message_log "
)

func scanEntry(scan func(...any) error) (e store.LogEntry, err error) {
	var at int64
	var outputs, attempts, headers string
	err = scan(&e.ID, &e.Handler, &e.Message, &e.State, &e.Topic, &e.Subscription, &e.Partition, &e.Offset, &e.Key, &e.Correlation,
		&e.Causation, &e.Reason, &e.Error, &at, &e.Size, &outputs, &attempts, &headers, &e.Payload)
	if err != nil {
		return e, err
	}
	e.Message, e.Key = decodeText(e.Message), decodeText(e.Key)
	e.Correlation, e.Causation = decodeText(e.Correlation), decodeText(e.Causation)
	e.At = fromMicros(at)
	if outputs != "" {
		e.Outputs = strings.Split(outputs, "\n")
	}
	if e.Attempts, err = decodeAttempts(attempts); err != nil {
		return e, err
	}
	e.Headers, err = decodeHeaders(headers)
	return e, err
}

// LogEntry implements store.Log.
func (l *Log) LogEntry(ctx context.Context, handler, message string) (e store.LogEntry, err error) {
	const what = "get log entry"
	err = l.s.view(ctx, what, wholeEntry+"WHERE message = $1 AND handler = $2", func(scan func(...any) error) (err error) {
		e, err = scanEntry(scan)
		return err
	}, encodeText(message), handler)
	if err == nil && e.ID == 0 {
		err = fmt.Errorf("%s of %s in %s: %w", what, show(message), handler, store.ErrNotFound)
	}
	return e, err
}

// SearchLog implements store.Log.
func (l *Log) SearchLog(ctx context.Context, q store.LogQuery) (page store.LogPage, err error) {
	const what = "search the message log"
	size := store.PageSize(q.Limit)
	before, err := cursor(q.Cursor)
	if err != nil {
		return page, wrap(what, err)
	}
	where, args, err := l.s.where(logColumns, q.Filter, before)
	if err != nil {
		return page, wrap(what, err)
	}
	where = "id < $1 AND " + where + " ORDER BY id DESC"
	ids, next, err := l.s.pageOf(ctx, what, "SELECT id, kept FROM message_log WHERE "+where, args, size, q.Bare)
	if err != nil || len(ids) == 0 {
		return page, err
	}
	page.Next = next
	query := wholeEntry
	if q.Bare {
		query = bareEntry
	}
	// The condition again: an entry may have changed since.
	err = l.s.view(ctx, what, query+"WHERE id IN ("+listed(ids)+") AND "+where, func(scan func(...any) error) error {
		e, err := scanEntry(scan)
		page.Entries = append(page.Entries, e)
		return err
	}, args...)
	return page, err
}

// TrimLog implements store.Log.
func (l *Log) TrimLog(ctx context.Context, rule store.LogRule) (int, error) {
	var gone int64
	err := l.s.update(ctx, "trim the message log", func(tx Tx) (err error) {
		gone, err = tx.Exec("DELETE FROM message_log WHERE id IN (SELECT id FROM message_log WHERE state = $1 AND at < $2 ORDER BY at LIMIT $3)",
			string(rule.State), micros(rule.Before), limit(rule.Limit))
		if err != nil || gone > 0 || rule.Bytes <= 0 {
			return err
		}
		// log_size is kept, or added up, by the driver's tables. The oldest go, as
		// long as what is before them does not make up for what is too much.
		gone, err = tx.Exec(`DELETE FROM message_log WHERE id IN (
			SELECT id FROM (
				SELECT id, sum(kept) OVER (ORDER BY at, id) - kept AS before
				FROM (SELECT id, at, kept FROM message_log WHERE state = $1 ORDER BY at, id LIMIT $3) oldest
			) x WHERE before < (SELECT bytes FROM log_size WHERE state = $1) - $2)`,
			string(rule.State), rule.Bytes, limit(rule.Limit))
		return err
	})
	return int(gone), err
}
