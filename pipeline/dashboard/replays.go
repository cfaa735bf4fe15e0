package dashboard

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/waybill-dev/waybill/pipeline/replay"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const replaysPath = "/api/v1/replays"

// replays serves runs over selections.
type replays struct {
	store  store.Store
	runner *replay.Runner
}

func registerReplays(api huma.API, opts Options) {
	r := replays{opts.Store, opts.Replays}
	huma.Register(api, huma.Operation{
		OperationID: "start-replay", Method: http.MethodPost, Path: replaysPath, Summary: "Send dead letters back",
		Description:   "Each goes to the handler that failed it, and no other. The answer comes at once: follow the replay at its own address.",
		DefaultStatus: http.StatusAccepted, Errors: storeErrors,
	}, answering(r.start))
	huma.Register(api, huma.Operation{
		OperationID: "list-replays", Method: http.MethodGet, Path: replaysPath, Summary: "List replays, the latest first", Errors: storeErrors,
	}, answering(r.list))
	huma.Register(api, huma.Operation{
		OperationID: "get-replay", Method: http.MethodGet, Path: replaysPath + "/{id}", Summary: "One replay with its progress", Errors: storeErrors,
	}, answering(r.get))
	huma.Register(api, huma.Operation{
		OperationID: "list-replay-items", Method: http.MethodGet, Path: replaysPath + "/{id}/items",
		Summary: "What became of each letter, in the order of sending", Errors: storeErrors,
	}, answering(r.items))
	for verb, move := range map[string]func(context.Context, int64, string, string) (store.Replay, error){
		"pause": r.runner.Pause, "resume": r.runner.Resume, "cancel": r.runner.Cancel,
	} {
		huma.Register(api, huma.Operation{
			OperationID: verb + "-replay", Method: http.MethodPost, Path: replaysPath + "/{id}/" + verb, Summary: replayVerbs[verb],
			Description: "What was sent already goes on.", Errors: storeErrors,
		}, answering(func(ctx context.Context, in *moveReplayInput) (*replayOutput, error) {
			return shown(move(ctx, in.ID, in.Actor, in.Body.Why))
		}))
	}
}

var replayVerbs = map[string]string{
	"pause":  "Send nothing more for now",
	"resume": "Go on with a paused replay",
	"cancel": "Send nothing more at all",
}

// ReplayRequest asks for a replay.
type ReplayRequest struct {
	Selection         int64   `json:"selection" doc:"the selection's id"`
	Rate              float64 `json:"rate,omitempty" doc:"letters a second; 0: as fast as it goes"`
	Ramp              []int   `json:"ramp,omitempty" maxItems:"100" doc:"sizes of the first batches, as [1, 5, 20]: the outcomes of one are known before the next is sent; then the rest"`
	StopAfterFailures int     `json:"stop_after_failures,omitempty" doc:"it pauses when so many died again; 0: never"`
	Redirect          string  `json:"redirect,omitempty" doc:"publish to this topic, instead of the handler that failed"`
	Transform         string  `json:"transform,omitempty" doc:"an expression over payload and meta that gives the new payload; it is an edit of each letter, whose original is kept"`
	Overtake          bool    `json:"overtake,omitempty" doc:"later messages of a key need not wait for its letter"`
	Why               string  `json:"why,omitempty" doc:"for the audit log"`
}

// Replay is a run over a selection as the API shows it. The counts from pending
// to skipped add up to count.
type Replay struct {
	ID      int64             `json:"id"`
	State   store.ReplayState `json:"state" enum:"running,paused,cancelled,done"`
	Problem string            `json:"problem,omitempty" doc:"why it paused by itself, or, running, why it does not go on now"`
	ReplayRequest
	By        string    `json:"by"`
	Started   time.Time `json:"started"`
	Changed   time.Time `json:"changed"`
	Count     int64     `json:"count"`
	Pending   int64     `json:"pending" doc:"not sent yet"`
	Sent      int64     `json:"sent" doc:"and not known what became of them"`
	Completed int64     `json:"completed"`
	Dead      int64     `json:"dead" doc:"again"`
	Skipped   int64     `json:"skipped" doc:"not sent: its items say why"`
}

func newReplay(r store.Replay) Replay {
	o := r.Options
	return Replay{
		ID: r.ID, State: r.State, Problem: r.Problem, By: r.By, Started: r.Started, Changed: r.Changed, Count: r.Count,
		Pending: r.Pending, Sent: r.Sent, Completed: r.Completed, Dead: r.Dead, Skipped: r.Skipped,
		ReplayRequest: ReplayRequest{
			Selection: r.Selection, Rate: o.Rate, Ramp: o.Ramp, StopAfterFailures: o.StopAfter, Redirect: o.Redirect,
			Transform: o.Transform, Overtake: o.Overtake, Why: r.Why,
		},
	}
}

type startReplayInput struct {
	Act
	Body ReplayRequest
}

type replayOutput struct{ Body Replay }

func shown(r store.Replay, err error) (*replayOutput, error) {
	if err != nil {
		return nil, err
	}
	return &replayOutput{newReplay(r)}, nil
}

func (r replays) start(ctx context.Context, in *startReplayInput) (*replayOutput, error) {
	b := in.Body
	return shown(r.runner.Begin(ctx, store.Replay{
		Selection: b.Selection, By: in.Actor, Why: b.Why,
		Options: store.ReplayOptions{
			Rate: b.Rate, Ramp: b.Ramp, StopAfter: b.StopAfterFailures, Redirect: b.Redirect, Transform: b.Transform, Overtake: b.Overtake,
		},
	}))
}

type listReplaysInput struct{ PageQuery }

// ReplayPage is a page of replays.
type ReplayPage struct {
	Replays []Replay `json:"replays"`
	Next    string   `json:"next,omitempty" doc:"cursor of the next page; none: this is the last"`
}

type replaysOutput struct{ Body ReplayPage }

func (r replays) list(ctx context.Context, in *listReplaysInput) (*replaysOutput, error) {
	page, err := r.store.ReplayRuns(ctx, store.ReplayQuery{Limit: in.Limit, Cursor: in.Cursor})
	if err != nil {
		return nil, err
	}
	out := &replaysOutput{ReplayPage{Replays: make([]Replay, len(page.Replays)), Next: page.Next}}
	for i, run := range page.Replays {
		out.Body.Replays[i] = newReplay(run)
	}
	return out, nil
}

// ReplayPath names a replay.
type ReplayPath struct {
	ID int64 `path:"id"`
}

func (r replays) get(ctx context.Context, in *ReplayPath) (*replayOutput, error) {
	return shown(r.store.ReplayRun(ctx, in.ID))
}

type moveReplayInput struct {
	ReplayPath
	Act
	Body struct {
		Why string `json:"why,omitempty" doc:"for the audit log"`
	} `required:"false"`
}

type itemsInput struct {
	ReplayPath
	State string `query:"state" enum:"pending,sent,completed,dead,skipped"`
	After int64  `query:"after" doc:"the place behind which the page begins"`
	Limit int    `query:"limit" minimum:"1" maximum:"1000" default:"100"`
}

// ReplayItem is one letter of a replay.
type ReplayItem struct {
	Place  int64           `json:"place" doc:"in the order of sending, from 1"`
	Letter int64           `json:"letter"`
	State  store.ItemState `json:"state" enum:"pending,sent,completed,dead,skipped"`
	Why    string          `json:"why,omitempty"`
}

// ReplayItems are a page of them.
type ReplayItems struct {
	Items []ReplayItem `json:"items"`
	Next  int64        `json:"next,omitempty" doc:"after of the next page; none: this is the last"`
}

type itemsOutput struct{ Body ReplayItems }

func (r replays) items(ctx context.Context, in *itemsInput) (*itemsOutput, error) {
	if _, err := r.store.ReplayRun(ctx, in.ID); err != nil {
		return nil, err
	}
	items, err := r.store.ReplayItems(ctx, store.ItemQuery{Replay: in.ID, State: store.ItemState(in.State), After: in.After, Limit: in.Limit})
	if err != nil {
		return nil, err
	}
	out := &itemsOutput{ReplayItems{Items: make([]ReplayItem, len(items))}}
	for i, item := range items {
		out.Body.Items[i] = ReplayItem{Place: item.Place, Letter: item.Letter, State: item.State, Why: item.Why}
	}
	if len(items) == in.Limit {
		out.Body.Next = items[len(items)-1].Place
	}
	return out, nil
}
