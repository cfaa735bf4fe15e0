package sqlstore

import (
	"context"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// auditTarget is what an entry is about, in one column.
type auditTarget struct {
	On     []int64       `json:"on,omitzero"`
	Filter *store.Filter `json:"filter,omitzero"`
}

const insertAudit = `
INSERT INTO audit (operation, at, actor, action, why, target, n, detail) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)
ON CONFLICT (operation) WHERE operation <> '' DO UPDATE SET n = audit.n + excluded.n`

// Record implements store.Audit.
func (s *Store) Record(e store.AuditEntry) pipeline.Write {
	return s.write("record in the audit log", func(tx Tx) error {
		if e.Actor == "" || e.Action == "" {
			return fmt.Errorf("%w: an entry has an actor and an action", store.ErrInvalid)
		}
		target, err := json.Marshal(auditTarget{On: e.On, Filter: e.Filter}, json.Deterministic(true))
		if err != nil {
			return err
		}
		now, err := s.clock(tx)
		if err != nil {
			return err
		}
		_, err = tx.Exec(insertAudit, show(e.Operation), micros(now), show(e.Actor), show(e.Action), show(e.Why), string(target), e.Count, show(e.Detail))
		return err
	})
}

// AuditEntries implements store.Audit.
func (s *Store) AuditEntries(ctx context.Context, q store.AuditQuery) (page store.AuditPage, err error) {
	const what = "list the audit log"
	size := store.PageSize(q.Limit)
	before, err := cursor(q.Cursor)
	if err != nil {
		return page, wrap(what, err)
	}
	err = s.view(ctx, what, `SELECT id, operation, at, actor, action, why, target, n, detail FROM audit
		WHERE id < $1 AND (CAST($2 AS TEXT) = '' OR actor = $2) AND (CAST($3 AS TEXT) = '' OR action = $3) AND at >= $4 ORDER BY id DESC LIMIT $5`,
		func(scan func(...any) error) error {
			e, err := scanAudit(scan)
			page.Entries = append(page.Entries, e)
			return err
		}, before, q.Actor, q.Action, micros(q.Since), size+1)
	if err == nil && len(page.Entries) > size {
		page.Entries = page.Entries[:size]
		page.Next = strconv.FormatInt(page.Entries[size-1].ID, 36)
	}
	return page, err
}

func scanAudit(scan func(...any) error) (e store.AuditEntry, err error) {
	var at int64
	var target string
	if err := scan(&e.ID, &e.Operation, &at, &e.Actor, &e.Action, &e.Why, &target, &e.Count, &e.Detail); err != nil {
		return e, err
	}
	e.At = fromMicros(at)
	var about auditTarget
	err = json.Unmarshal([]byte(target), &about)
	e.On, e.Filter = about.On, about.Filter
	return e, err
}
