package dashboard

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waybill-dev/waybill/pipeline/replay"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const selectionsPath = "/api/v1/selections"

// selections serves frozen sets of dead letters.
type selections struct {
	store  store.Store
	runner *replay.Runner
}

func registerSelections(api huma.API, opts Options) {
	s := selections{opts.Store, opts.Replays}
	huma.Register(api, huma.Operation{
		OperationID: "select-dead-letters", Method: http.MethodPost, Path: selectionsPath, Summary: "Freeze a set of dead letters",
		Description: "Those named, or those that match and are DEAD at this moment: what dies, or changes, later is not replayed by it. " +
			"Nothing is changed. It is kept for 30 days.",
		DefaultStatus: http.StatusCreated, Errors: storeErrors,
	}, answering(s.create))
	huma.Register(api, huma.Operation{
		OperationID: "get-selection", Method: http.MethodGet, Path: selectionsPath + "/{id}", Summary: "One selection", Errors: storeErrors,
	}, answering(s.get))
	huma.Register(api, huma.Operation{
		OperationID: "preview-transform", Method: http.MethodPost, Path: selectionsPath + "/{id}/preview", Summary: "What a transform would make of it",
		Description: "The content of the first letters before and after. Nothing is changed.", Errors: storeErrors,
	}, answering(s.preview))
}

// SampleQuery says how many letters are shown of a selection.
type SampleQuery struct {
	Sample int `query:"sample" minimum:"0" maximum:"100" default:"5" doc:"how many letters to show"`
}

type selectInput struct {
	Act
	SampleQuery
	Body struct {
		IDs    []int64       `json:"ids,omitempty" maxItems:"10000" doc:"these letters, also parked ones"`
		Filter *store.Filter `json:"filter,omitempty" doc:"or those that match; {} matches all"`
	}
}

// Selection is a frozen set of dead letters as the API shows it.
type Selection struct {
	ID        int64         `json:"id"`
	Filter    *store.Filter `json:"filter,omitempty"`
	IDs       []int64       `json:"ids,omitempty" doc:"where letters were named"`
	By        string        `json:"by"`
	At        time.Time     `json:"at"`
	Count     int64         `json:"count"`
	Parked    int64         `json:"parked" doc:"of them; a replay leaves these out unless they were named"`
	ByHandler []store.Tally `json:"by_handler"`
	ByTopic   []store.Tally `json:"by_topic" doc:"by where the messages were read"`
	Sample    []Letter      `json:"sample" doc:"the first that would be sent, without their content"`
}

type selectionOutput struct{ Body Selection }

func (s selections) create(ctx context.Context, in *selectInput) (*selectionOutput, error) {
	want := store.Selection{Named: in.Body.IDs, By: in.Actor}
	switch {
	case (len(in.Body.IDs) == 0) == (in.Body.Filter == nil):
		return nil, fmt.Errorf("%w: give either ids or filter", store.ErrInvalid)
	case in.Body.Filter != nil:
		want.Filter = *in.Body.Filter
	}
	sel, err := s.store.Select(ctx, want)
	if err != nil {
		return nil, err
	}
	return s.show(ctx, sel, in.Sample)
}

type selectionInput struct {
	ID int64 `path:"id"`
	SampleQuery
}

func (s selections) get(ctx context.Context, in *selectionInput) (*selectionOutput, error) {
	sel, err := s.store.Selection(ctx, in.ID)
	if err != nil {
		return nil, err
	}
	return s.show(ctx, sel, in.Sample)
}

func (s selections) show(ctx context.Context, sel store.Selection, sample int) (*selectionOutput, error) {
	out := &selectionOutput{Selection{
		ID: sel.ID, IDs: sel.Named, By: sel.By, At: sel.At, Count: sel.Count, Parked: sel.Parked,
		ByHandler: sel.ByHandler, ByTopic: sel.ByTopic, Sample: []Letter{},
	}}
	if len(sel.Named) == 0 {
		out.Body.Filter = &sel.Filter
	}
	if sample == 0 {
		return out, nil
	}
	letters, err := s.store.SelectedLetters(ctx, sel.ID, sample)
	if err != nil {
		return nil, err
	}
	for _, l := range letters {
		out.Body.Sample = append(out.Body.Sample, newLetter(l, true))
	}
	return out, nil
}

type previewInput struct {
	ID int64 `path:"id"`
	SampleQuery
	Body struct {
		Transform string `json:"transform" minLength:"1" doc:"as of a replay"`
	}
}

// Change is what a transform makes of one letter.
type Change struct {
	ID     int64    `json:"id" doc:"the letter's"`
	Before Content  `json:"before"`
	After  *Content `json:"after,omitempty"`
	Error  string   `json:"error,omitempty" doc:"why it would be skipped"`
}

type previewOutput struct {
	Body struct {
		Changes []Change `json:"changes"`
	}
}

func (s selections) preview(ctx context.Context, in *previewInput) (*previewOutput, error) {
	changes, err := s.runner.Preview(ctx, in.ID, in.Body.Transform, max(in.Sample, 1))
	if err != nil {
		return nil, err
	}
	out := &previewOutput{}
	out.Body.Changes = make([]Change, len(changes))
	for i, c := range changes {
		shown := Change{ID: c.Letter, Before: NewContent(c.Before)}
		if c.Err != nil {
			shown.Error = c.Err.Error()
		} else {
			after := NewContent(c.After)
			shown.After = &after
		}
		out.Body.Changes[i] = shown
	}
	return out, nil
}
