package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func (l letters) registerMoves(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "archive-dead-letters", Method: http.MethodPost, Path: lettersPath + "/archive", Summary: "Put dead letters aside",
		Description: "Those named, or those that match and are DEAD now; what dies meanwhile stays. With expires they are deleted then.",
		Errors:      storeErrors,
	}, answering(func(ctx context.Context, in *archiveInput) (*movedOutput, error) {
		return l.move(ctx, movement{Act: in.Act, Which: in.Body.Which, from: store.Dead, to: store.Archived, action: "archive", expires: in.Body.Expires})
	}))
	huma.Register(api, huma.Operation{
		OperationID: "restore-dead-letters", Method: http.MethodPost, Path: lettersPath + "/restore", Summary: "Bring archived dead letters back",
		Description: "Those named, or those that match and are ARCHIVED now. They are DEAD again. With give_up it is those that are REPLAYING, " +
			"whose messages wait for a handler that does not come: they run no more.",
		Errors: storeErrors,
	}, answering(func(ctx context.Context, in *restoreInput) (*movedOutput, error) {
		m := movement{Act: in.Act, Which: in.Body.Which, from: store.Archived, to: store.Dead, action: "restore"}
		if in.Body.GiveUp {
			m.from, m.action = store.Replaying, "give up"
		}
		return l.move(ctx, m)
	}))
}

// Which says which letters are meant.
type Which struct {
	IDs    []int64       `json:"ids,omitempty" maxItems:"1000" doc:"these letters"`
	Filter *store.Filter `json:"filter,omitempty" doc:"or those that match; {} matches all"`
	UpTo   int64         `json:"up_to,omitempty" doc:"with filter: the newest letter's id that is meant, so that who comes meanwhile is not; default: all"`
	Why    string        `json:"why,omitempty" doc:"for the audit log"`
}

type archiveInput struct {
	Act
	Body struct {
		Which
		Expires time.Time `json:"expires,omitzero" doc:"when they may be deleted; default: never"`
	}
}

type restoreInput struct {
	Act
	Body struct {
		Which
		GiveUp bool `json:"give_up,omitempty" doc:"those that are REPLAYING, instead of those that are ARCHIVED"`
	}
}

// Moved is what became of letters that were to change their state.
type Moved struct {
	Count   int       `json:"count" doc:"letters that were changed"`
	Refused []Refusal `json:"refused,omitempty" doc:"those of ids that were not"`
}

// Refusal says why a letter was not changed.
type Refusal struct {
	ID     int64  `json:"id"`
	Status int    `json:"status" doc:"404 or 409, as for this letter alone"`
	Error  string `json:"error"`
}

type movedOutput struct{ Body Moved }

// movement is a change of the state of letters.
type movement struct {
	Act
	Which
	from, to store.State
	action   string
	expires  time.Time
}

func (l letters) move(ctx context.Context, m movement) (*movedOutput, error) {
	entry := store.AuditEntry{
		Operation: uuid.Must(uuid.NewV7()).String(), Actor: m.Actor, Action: m.action, Why: m.Why, On: m.IDs, Filter: m.Filter,
	}
	if !m.expires.IsZero() {
		entry.Detail = "expires " + m.expires.UTC().Format(time.RFC3339)
	}
	switch {
	case (m.IDs == nil) == (m.Filter == nil):
		return nil, fmt.Errorf("%w: give either ids or filter", store.ErrInvalid)
	case m.Filter != nil && m.from == store.Replaying: // each by itself: a handler may have one in hand
		var err error
		if m.IDs, err = l.matching(ctx, m); err != nil {
			return nil, err
		}
		return l.moveNamed(ctx, m, entry)
	case m.Filter != nil:
		return l.moveMatching(ctx, m, entry)
	}
	return l.moveNamed(ctx, m, entry)
}

func (l letters) moveNamed(ctx context.Context, m movement, entry store.AuditEntry) (*movedOutput, error) {
	out := &movedOutput{}
	for _, id := range m.IDs {
		err := l.moveOne(ctx, m, entry, id)
		switch {
		case err == nil:
			out.Body.Count++
		case errors.Is(err, store.ErrNotFound):
			out.Body.Refused = append(out.Body.Refused, Refusal{id, http.StatusNotFound, err.Error()})
		case errors.Is(err, store.ErrConflict):
			out.Body.Refused = append(out.Body.Refused, Refusal{id, http.StatusConflict, err.Error()})
		default:
			return nil, fmt.Errorf("%s: %d were changed, then: %w", m.action, out.Body.Count, err)
		}
	}
	return out, nil
}

func (l letters) moveOne(ctx context.Context, m movement, entry store.AuditEntry, id int64) error {
	letter, err := l.store.Letter(ctx, id)
	if err != nil {
		return err
	}
	if letter.State != m.from { // a restore is not to stop a replay, which is DEAD's other way back
		return fmt.Errorf("%s dead letter %d: %w: it is %s, not %s: look at it again", m.action, id, store.ErrConflict, letter.State, m.from)
	}
	entry.Count = 1
	var withdraw pipeline.Write
	if m.from == store.Replaying {
		withdraw = l.store.Withdraw(letter)
	}
	return l.store.Do(ctx, withdraw, l.store.MoveLetter(store.Move{ID: id, To: m.to, Version: letter.Version, Expires: m.expires}),
		l.unpark(m.to, letter), l.store.Record(entry))
}

// matching lists the letters that match at this moment, by id.
func (l letters) matching(ctx context.Context, m movement) (ids []int64, err error) {
	q := store.LetterQuery{Filter: store.And(store.Is(store.FieldState, string(m.from)), *m.Filter), Limit: store.MaxPage, Bare: true}
	for {
		page, err := l.store.Letters(ctx, q)
		if err != nil {
			return nil, err
		}
		for _, letter := range page.Letters {
			if m.UpTo == 0 || letter.ID <= m.UpTo {
				ids = append(ids, letter.ID)
			}
		}
		if q.Cursor = page.Next; q.Cursor == "" {
			return ids, nil
		}
	}
}

// moveMatching changes those that match at this moment, a chunk a transaction.
func (l letters) moveMatching(ctx context.Context, m movement, entry store.AuditEntry) (*movedOutput, error) {
	n, err := l.store.MoveLetters(ctx, store.MoveAll{
		Filter: *m.Filter, UpTo: m.UpTo, From: m.from, To: m.to, Expires: m.expires, Limit: moveChunk,
		With: func(moved []store.DeadLetter) []pipeline.Write {
			entry.Count = len(moved)
			writes := []pipeline.Write{l.store.Record(entry)}
			for _, letter := range moved {
				writes = append(writes, l.unpark(m.to, letter))
			}
			return writes
		},
	})
	if err != nil && n > 0 {
		err = fmt.Errorf("%s: %d were changed, then: %w", m.action, n, err)
	}
	return &movedOutput{Moved{Count: n}}, err
}

// moveChunk bounds how long the store's one writer is busy with a bulk change.
const moveChunk = 500
