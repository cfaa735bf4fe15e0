package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const (
	selectionsPath = "/api/v1/selections"
	replaysPath    = "/api/v1/replays"
)

// replayCommand sends dead letters back.
type replayCommand struct {
	*cli
	which     letterFlags
	out       format
	selection int64
	rate      string
	request   dashboard.ReplayRequest
	yes       bool
	detach    bool
}

func (c *cli) dlqReplayCommand() *cobra.Command {
	r := &replayCommand{cli: c}
	cmd := &cobra.Command{
		Use:   "replay [ID...]",
		Short: "Send dead letters back to the handler that failed",
		Long: "Freezes a selection of letters (those named, or those that are DEAD and for which all that is given is true), shows it, asks,\n" +
			"and sends them, each to the handler that failed it and no other, those of a key in their order. On ordered handlers later\n" +
			"messages of the key wait for them. It then shows the progress until the outcome of each is known; Ctrl-C leaves the replay\n" +
			"going.\n\n" +
			"--transform edits each letter: the value of an expression over payload and meta becomes the payload, or, written as\n" +
			"/pointer = expression, takes the place of one value and leaves every other byte. The originals are kept.\n\n" +
			"Exit codes are those of waybill dlq; 6: some died again, or were skipped.",
		Example: "  waybill dlq replay 17 18\n" +
			"  waybill dlq replay --group 3f9c0a1b22d4e5f6 --ramp 1,5,20,100 --stop-after-failures 3 --why 'the warehouse is up'\n" +
			"  waybill dlq replay --handler mail --rate 20/s --yes --detach\n" +
			"  waybill dlq replay --handler prepare --transform '/country = \"DE\"'\n" +
			"  waybill dlq replay status 4",
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			return r.run(cmd.Context(), args)
		},
	}
	r.which.add(cmd)
	r.out.add(cmd)
	flags := cmd.Flags()
	flags.BoolVar(&r.which.all, "all", false, "all that are DEAD")
	flags.Int64Var(&r.selection, "selection", 0, "a selection that was made before, by its id")
	flags.StringVar(&r.rate, "rate", "", "how many: 20/s, 600/m; not given: as fast as it goes")
	flags.IntSliceVar(&r.request.Ramp, "ramp", nil, "sizes of the first batches: 1,5,20,100; each waits for the outcomes of the one before; then the rest")
	flags.IntVar(&r.request.StopAfterFailures, "stop-after-failures", 0, "pause when so many died again")
	flags.StringVar(&r.request.Redirect, "to", "", "publish to this topic instead")
	flags.StringVar(&r.request.Transform, "transform", "", "edit each letter by an expression")
	flags.BoolVar(&r.request.Overtake, "overtake", false, "let later messages of a key pass")
	flags.StringVar(&r.request.Why, "why", "", "for the audit log")
	flags.BoolVarP(&r.yes, "yes", "y", false, "do not ask")
	flags.BoolVar(&r.detach, "detach", false, "do not wait for the outcomes")
	for _, sub := range []*cobra.Command{
		c.replayStatusCommand(), c.replayMoveCommand("pause", "Send nothing more for now"),
		c.replayMoveCommand("resume", "Go on with a paused replay"), c.replayMoveCommand("cancel", "Send nothing more at all"),
	} {
		c.serverFlags(sub)
		cmd.AddCommand(sub)
	}
	return cmd
}

func (r *replayCommand) run(ctx context.Context, args []string) error {
	var err error
	if r.request.Rate, err = perSecond(r.rate); err != nil {
		return err
	}
	request, err := r.asked(args)
	if err == nil {
		err = r.out.check()
	}
	if err != nil {
		return err
	}
	return r.with(func(a *api) error {
		sel, err := r.choose(ctx, a, request)
		if err != nil {
			return err
		}
		if !r.yes {
			if err := r.show(ctx, a, sel); err != nil {
				return err
			}
			if err := r.agree(ctx, fmt.Sprintf("replay %d dead letters?", sel.Count-leftOut(sel)), false); err != nil {
				return err
			}
		}
		r.request.Selection = sel.ID
		var run dashboard.Replay
		if err := a.send(ctx, http.MethodPost, replaysPath, r.request, &run); err != nil {
			return err
		}
		return r.after(ctx, a, run)
	})
}

// after follows the replay, or says how to.
func (r *replayCommand) after(ctx context.Context, a *api, run dashboard.Replay) error {
	switch {
	case !a.running:
		fmt.Fprintf(r.err, "no waybill runs here: replay %d begins with the next one that has this store\n", run.ID)
	case !r.detach:
		return r.follow(ctx, a, run, r.out)
	}
	r.leave(run.ID)
	return printReplay(r.cli.out, r.out, run)
}

// selectRequest is the body of the API's call.
type selectRequest struct {
	IDs    []int64       `json:"ids,omitzero"`
	Filter *store.Filter `json:"filter,omitzero"`
}

// asked is which letters the command line asks for.
func (r *replayCommand) asked(args []string) (request selectRequest, err error) {
	filter, err := r.which.condition()
	if err != nil {
		return request, err
	}
	ways := 0
	for _, given := range []bool{len(args) > 0, len(filter.And) > 0, r.which.all, r.selection != 0} {
		if given {
			ways++
		}
	}
	if ways != 1 {
		return request, exit(exitUsage, errors.New("say which letters to replay: by their ids, by flags such as --group, by --selection, or --all"))
	}
	for _, arg := range args {
		id, err := letterID(arg)
		if err != nil {
			return request, err
		}
		request.IDs = append(request.IDs, id)
	}
	if len(args) == 0 {
		request.Filter = &filter
	}
	return request, nil
}

// choose makes the selection, or takes the one that was made.
func (r *replayCommand) choose(ctx context.Context, a *api, request selectRequest) (sel dashboard.Selection, err error) {
	if r.selection != 0 {
		err = a.get(ctx, fmt.Sprintf("%s/%d", selectionsPath, r.selection), &sel)
	} else {
		err = a.send(ctx, http.MethodPost, selectionsPath, request, &sel)
	}
	if err == nil && sel.Count == 0 {
		err = exit(exitNotFound, errors.New("no dead letter matches: waybill dlq ls lists them"))
	}
	return sel, err
}

// show says what would be replayed.
func (r *replayCommand) show(ctx context.Context, a *api, sel dashboard.Selection) error {
	err := render[any](r.err, format{"table"}, sel, nil, func(w io.Writer) {
		fmt.Fprintf(w, "selection %d:\t%d dead letters\n", sel.ID, sel.Count)
		if n := leftOut(sel); n > 0 {
			fmt.Fprintf(w, "left out:\t%d that are parked: name them by id\n", n)
		}
		for _, t := range sel.ByHandler {
			fmt.Fprintf(w, "of handler:\t%s\t%d\n", t.Name, t.Count)
		}
		for _, t := range sel.ByTopic {
			fmt.Fprintf(w, "read from:\t%s\t%d\n", t.Name, t.Count)
		}
		for _, l := range sel.Sample {
			fmt.Fprintf(w, "letter %d:\t%s\tkey %s\t%s\n", l.ID, oneLine(l.Message, 36), oneLine(l.Key, 20), oneLine(l.Error, 60))
		}
	})
	if err != nil || r.request.Transform == "" {
		return err
	}
	var preview struct {
		Changes []dashboard.Change `json:"changes"`
	}
	body := map[string]string{"transform": r.request.Transform}
	if err := a.send(ctx, http.MethodPost, fmt.Sprintf("%s/%d/preview", selectionsPath, sel.ID), body, &preview); err != nil {
		return err
	}
	for _, c := range preview.Changes {
		fmt.Fprintf(r.err, "letter %d becomes:\n%s", c.ID, changeOf(c))
	}
	return nil
}

// changeOf shows the change of one letter.
func changeOf(c dashboard.Change) string {
	if c.After == nil {
		return "! it would be skipped: " + c.Error + "\n"
	}
	if diff := difference(c.Before.Content(), c.After.Content()); diff != "" {
		return diff
	}
	return "  what it is\n"
}

// leftOut is how many letters a replay of the selection leaves out.
func leftOut(sel dashboard.Selection) int64 {
	if len(sel.IDs) > 0 {
		return 0
	}
	return sel.Parked
}

// perSecond reads a rate.
func perSecond(text string) (float64, error) {
	if text == "" {
		return 0, nil
	}
	number, unit, _ := strings.Cut(text, "/")
	n, err := strconv.ParseFloat(number, 64)
	per, known := map[string]time.Duration{"": time.Second, "s": time.Second, "m": time.Minute, "h": time.Hour}[unit]
	if err != nil || !known || !(n > 0) || n > 1e9 {
		return 0, exit(exitUsage, fmt.Errorf("--rate %q: want a number and a time: 20/s, 600/m or 5000/h", text))
	}
	return n / per.Seconds(), nil
}
