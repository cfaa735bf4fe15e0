package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waybill-dev/waybill/pipeline/store"
)

const lettersPath = "/api/v1/dead-letters"

// storeErrors are the answers of every call to the store.
var storeErrors = []int{http.StatusNotFound, http.StatusConflict, http.StatusUnprocessableEntity, http.StatusServiceUnavailable}

// letters serves the dead letters of a store.
type letters struct{ store store.Store }

func registerLetters(api huma.API, opts Options) {
	l := letters{opts.Store}
	huma.Register(api, huma.Operation{
		OperationID: "list-dead-letters", Method: http.MethodGet, Path: lettersPath, Summary: "List dead letters, newest first",
		Errors: storeErrors,
	}, answering(l.list))
	huma.Register(api, huma.Operation{
		OperationID: "list-dead-letter-groups", Method: http.MethodGet, Path: lettersPath + "/groups", Summary: "Groups of dead letters of one cause",
		Description: "Without by, the groups are of one cause in one handler, the latest first, and counted already. With by, the letters " +
			"that match are counted by the value of a header or of a member of the payload.",
		Errors: storeErrors,
	}, answering(l.groups))
	huma.Register(api, huma.Operation{
		OperationID: "get-dead-letter", Method: http.MethodGet, Path: lettersPath + "/{id}", Summary: "One dead letter with its content", Errors: storeErrors,
	}, answering(l.get))
	huma.Register(api, huma.Operation{
		OperationID: "get-dead-letter-original", Method: http.MethodGet, Path: lettersPath + "/{id}/original", Summary: "Its content as it died",
		Errors: storeErrors,
	}, answering(l.original))
	l.registerChanges(api)
	l.registerMoves(api)
	l.registerFiles(api, opts)
	l.registerAudit(api)
}

// answering gives the errors of f their status.
func answering[I, O any](f func(context.Context, *I) (*O, error)) func(context.Context, *I) (*O, error) {
	return func(ctx context.Context, in *I) (*O, error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, apiError(err)
		}
		return out, nil
	}
}

// PageQuery asks for one page.
type PageQuery struct {
	Limit  int    `query:"limit" minimum:"1" maximum:"1000" default:"50"`
	Cursor string `query:"cursor" doc:"next of the page before"`
}

type listLettersInput struct {
	LetterCondition
	PageQuery
	Whole bool `query:"whole" doc:"with payload, headers and stack"`
	Total bool `query:"total" doc:"count all that match, too"`
}

// LetterPage is a page of dead letters.
type LetterPage struct {
	Letters []Letter `json:"letters"`
	Next    string   `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
	Total   *int64   `json:"total,omitempty" doc:"how many match, if that was asked for"`
}

type listLettersOutput struct{ Body LetterPage }

func (l letters) list(ctx context.Context, in *listLettersInput) (*listLettersOutput, error) {
	filter, err := in.Filter()
	if err != nil {
		return nil, err
	}
	page, err := l.store.Letters(ctx, store.LetterQuery{Filter: filter, Limit: in.Limit, Cursor: in.Cursor, Bare: !in.Whole})
	if err != nil {
		return nil, err
	}
	out := &listLettersOutput{Body: LetterPage{Letters: make([]Letter, len(page.Letters)), Next: page.Next}}
	for i, letter := range page.Letters {
		out.Body.Letters[i] = newLetter(letter, !in.Whole)
	}
	if in.Total {
		n, err := l.store.CountLetters(ctx, filter)
		if err != nil {
			return nil, err
		}
		out.Body.Total = &n
	}
	return out, nil
}

type groupsInput struct {
	LetterCondition
	By    string `query:"by" doc:"header:NAME or pointer:/POINTER"`
	All   bool   `query:"all" doc:"also groups with nothing that is dead or being replayed"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// LetterGroups are groups of one kind or the other.
type LetterGroups struct {
	Groups []LetterGroup `json:"groups,omitempty" doc:"without by"`
	Values []ValueGroup  `json:"values,omitempty" doc:"with by, the largest first"`
}

type groupsOutput struct{ Body LetterGroups }

func (l letters) groups(ctx context.Context, in *groupsInput) (*groupsOutput, error) {
	if in.By != "" {
		return l.values(ctx, in)
	}
	if only := (LetterCondition{Handler: in.Handler}); fmt.Sprint(in.LetterCondition) != fmt.Sprint(only) {
		return nil, fmt.Errorf("%w: groups of one cause are filtered by handler only: give by, or list the letters", store.ErrInvalid)
	}
	groups, err := l.store.Groups(ctx, store.GroupQuery{Handler: in.Handler, All: in.All, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	out := &groupsOutput{}
	for _, g := range groups {
		out.Body.Groups = append(out.Body.Groups, LetterGroup(g))
	}
	return out, nil
}

func (l letters) values(ctx context.Context, in *groupsInput) (*groupsOutput, error) {
	filter, err := in.Filter()
	if err != nil {
		return nil, err
	}
	var by store.By
	switch what, name, _ := strings.Cut(in.By, ":"); what {
	case "header":
		by.Header = name
	case "pointer":
		by.Pointer = name
	default:
		return nil, fmt.Errorf("by %q: %w: write header:NAME or pointer:/POINTER", in.By, store.ErrInvalid)
	}
	groups, err := l.store.GroupBy(ctx, filter, by)
	if err != nil {
		return nil, err
	}
	out := &groupsOutput{}
	for _, g := range groups[:min(len(groups), in.Limit)] {
		g.Value = readable(g.Value)
		out.Body.Values = append(out.Body.Values, ValueGroup(g))
	}
	return out, nil
}

// LetterPath names a dead letter.
type LetterPath struct {
	ID int64 `path:"id"`
}

type letterOutput struct{ Body Letter }

func (l letters) get(ctx context.Context, in *LetterPath) (*letterOutput, error) {
	letter, err := l.store.Letter(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &letterOutput{newLetter(letter, false)}, nil
}

type contentOutput struct{ Body Content }

func (l letters) original(ctx context.Context, in *LetterPath) (*contentOutput, error) {
	content, err := l.store.Original(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return &contentOutput{NewContent(content)}, nil
}
