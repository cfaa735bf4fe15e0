package dashboard

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func (l letters) registerChanges(api huma.API) {
	huma.Register(api, huma.Operation{
		OperationID: "edit-dead-letter", Method: http.MethodPut, Path: lettersPath + "/{id}/content", Summary: "Replace its content",
		Description: "The first edit keeps the original. version is the one that was looked at: 409 if the letter was changed since, or is not DEAD. " +
			"Without headers and headers_base64 the headers stay as they are; {} removes them.",
		Errors: storeErrors, MaxBodyBytes: maxBody, BodyReadTimeout: bodyTimeout,
	}, answering(l.edit))
	huma.Register(api, huma.Operation{
		OperationID: "note-dead-letter", Method: http.MethodPut, Path: lettersPath + "/{id}/note", Summary: "Say something about it",
		Errors: storeErrors,
	}, answering(l.note))
	huma.Register(api, huma.Operation{
		OperationID: "note-dead-letter-group", Method: http.MethodPut, Path: lettersPath + "/groups/{handler}/{fingerprint}/note",
		Summary: "Say something about a group", Errors: storeErrors,
	}, answering(l.noteGroup))
}

// Act says who changes something. The token, if there is one, proves that they
// may; the name is what they say.
type Act struct {
	Actor string `header:"Waybill-Actor" default:"api" doc:"who does this, for the audit log"`
}

type editInput struct {
	LetterPath
	Act
	Body struct {
		Version int64  `json:"version" doc:"the version that was edited"`
		Why     string `json:"why,omitempty" doc:"for the audit log"`
		Content
	}
	RawBody []byte
}

// Resolve refuses what would be kept as other bytes than were sent.
func (in *editInput) Resolve(huma.Context) []error {
	if !jsontext.Value(in.RawBody).IsValid() { // half a surrogate pair is text for encoding/json, but not the text that was sent
		return []error{&huma.ErrorDetail{Location: "body", Message: "the body is not strict JSON in UTF-8: send what is not text in base64"}}
	}
	return nil
}

type versionedOutput struct {
	Body struct {
		Version int64 `json:"version" doc:"the new one"`
	}
}

func (l letters) edit(ctx context.Context, in *editInput) (*versionedOutput, error) {
	if err := in.Body.check(); err != nil {
		return nil, err
	}
	content, err := l.content(ctx, in)
	if err != nil {
		return nil, err
	}
	version, err := l.store.EditLetter(ctx, in.ID, in.Body.Version, content, l.store.Record(store.AuditEntry{
		Actor: in.Actor, Action: "edit", Why: in.Body.Why, On: []int64{in.ID}, Count: 1, Detail: fmt.Sprintf("version %d", in.Body.Version+1),
	}))
	if errors.Is(err, store.ErrConflict) {
		return nil, l.lostRace(ctx, in, err)
	}
	if err != nil {
		return nil, err
	}
	out := &versionedOutput{}
	out.Body.Version = version
	return out, nil
}

// content is what the letter is to say: with its own headers, if the edit has
// none. Should they change meanwhile, so does the version.
func (l letters) content(ctx context.Context, in *editInput) (store.Content, error) {
	content := in.Body.Content.Content()
	if in.Body.Headers != nil || in.Body.HeadersBase64 != nil {
		return content, nil
	}
	letter, err := l.store.Letter(ctx, in.ID)
	content.Headers = letter.Headers
	return content, err
}

// lostRace says who was first, as far as the audit log's last page knows: who
// made the letter's last change, not of the time before it.
func (l letters) lostRace(ctx context.Context, in *editInput, lost error) error {
	lost = fmt.Errorf("%w: you edited version %d", lost, in.Body.Version)
	letter, err := l.store.Letter(ctx, in.ID)
	if err != nil || letter.Version == in.Body.Version {
		return lost // nobody was: its state is not one to edit
	}
	page, err := l.store.AuditEntries(ctx, store.AuditQuery{Limit: store.MaxPage})
	if err != nil {
		return lost // what happened is known, only not who did it
	}
	for _, e := range page.Entries {
		if slices.Contains(e.On, in.ID) && !e.At.Before(letter.Changed) {
			return fmt.Errorf("%w: %s was first (%s at %s)", lost, e.Actor, e.Action, e.At.Format(time.RFC3339))
		}
	}
	return lost
}

type noteBody struct {
	Note string `json:"note" doc:"empty: none" maxLength:"10000"`
	Why  string `json:"why,omitempty" doc:"for the audit log"`
}

type noteInput struct {
	LetterPath
	Act
	Body noteBody
}

func (l letters) note(ctx context.Context, in *noteInput) (*struct{}, error) {
	return nil, l.store.NoteLetter(ctx, in.ID, in.Body.Note, l.store.Record(store.AuditEntry{
		Actor: in.Actor, Action: "note", Why: in.Body.Why, On: []int64{in.ID}, Count: 1,
	}))
}

type noteGroupInput struct {
	Handler     string `path:"handler"`
	Fingerprint string `path:"fingerprint"`
	Act
	Body noteBody
}

func (l letters) noteGroup(ctx context.Context, in *noteGroupInput) (*struct{}, error) {
	group := store.And(store.Is(store.FieldHandler, in.Handler), store.Is(store.FieldFingerprint, in.Fingerprint))
	return nil, l.store.NoteGroup(ctx, in.Handler, in.Fingerprint, in.Body.Note, l.store.Record(store.AuditEntry{
		Actor: in.Actor, Action: "note group", Why: in.Body.Why, Filter: &group, Count: 1,
	}))
}

// unpark lets go what an archived letter's handler holds back behind it, if
// it does: nobody is to replay the letter.
func (l letters) unpark(to store.State, letter store.DeadLetter) pipeline.Write {
	if to != store.Archived {
		return nil
	}
	return l.store.Unpark(letter.Handler, letter.Message)
}
