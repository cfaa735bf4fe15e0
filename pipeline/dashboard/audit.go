package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waybill-dev/waybill/pipeline/store"
)

func (l letters) registerAudit(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "list-audit", Method: http.MethodGet, Path: "/api/v1/audit", Summary: "Who changed what, when and why, newest first",
		Errors: storeErrors,
	}, answering(l.audit))
}

type auditInput struct {
	PageQuery
	Actor  string    `query:"actor"`
	Action string    `query:"action"`
	Since  time.Time `query:"since"`
}

// AuditEntry is one line of the audit log.
type AuditEntry struct {
	ID        int64         `json:"id"`
	At        time.Time     `json:"at"`
	Operation string        `json:"operation,omitempty" doc:"names a change that took several transactions"`
	Actor     string        `json:"actor"`
	Action    string        `json:"action"`
	Why       string        `json:"why,omitempty"`
	On        []int64       `json:"on,omitempty" doc:"the dead letters that were named"`
	Filter    *store.Filter `json:"filter,omitempty" doc:"or the condition"`
	Count     int           `json:"count" doc:"what was changed"`
	Detail    string        `json:"detail,omitempty"`
}

// AuditPage is a page of the audit log.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Next    string       `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

type auditOutput struct{ Body AuditPage }

func (l letters) audit(ctx context.Context, in *auditInput) (*auditOutput, error) {
	page, err := l.store.AuditEntries(ctx, store.AuditQuery{Actor: in.Actor, Action: in.Action, Since: in.Since, Limit: in.Limit, Cursor: in.Cursor})
	if err != nil {
		return nil, err
	}
	out := &auditOutput{}
	out.Body.Entries, out.Body.Next = make([]AuditEntry, len(page.Entries)), page.Next
	for i, e := range page.Entries {
		out.Body.Entries[i] = AuditEntry{
			ID: e.ID, At: e.At, Operation: e.Operation, Actor: e.Actor, Action: e.Action, Why: e.Why,
			On: e.On, Filter: e.Filter, Count: e.Count, Detail: e.Detail,
		}
	}
	return out, nil
}
