package app

import (
	"context"
	"fmt"
	"io"
	"net/http"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// shownItems is how many letters of a kind the status of a replay names.
const shownItems = 20

func (c *cli) replayStatusCommand() *cobra.Command {
	var out format
	var follow bool
	cmd := &cobra.Command{
		Use:   "status [ID]",
		Short: "Show replays, or one and what became of its letters",
		Long: "Without an id, lists replays, the latest first. With one, shows its counts, and the first letters that died again or were\n" +
			"skipped; with --output json or ndjson all of its letters.",
		Example: "  waybill dlq replay status\n  waybill dlq replay status 4 --follow\n  waybill dlq replay status 4 --output ndjson",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			if len(args) == 0 {
				return c.with(func(a *api) error { return c.listReplays(cmd.Context(), a, out) })
			}
			id, err := replayID(args[0])
			if err != nil {
				return err
			}
			return c.with(func(a *api) error { return c.replayStatus(cmd.Context(), a, id, follow, out) })
		},
	}
	out.add(cmd)
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "show the progress until it ends")
	return cmd
}

func (c *cli) listReplays(ctx context.Context, a *api, out format) error {
	var page dashboard.ReplayPage
	if err := a.get(ctx, fmt.Sprintf("%s?limit=%d", replaysPath, store.DefaultPage), &page); err != nil {
		return err
	}
	return render(c.out, out, page, page.Replays, func(w io.Writer) { replayTable(w, page.Replays) })
}

func (c *cli) replayStatus(ctx context.Context, a *api, id int64, follow bool, out format) error {
	path := fmt.Sprintf("%s/%d", replaysPath, id)
	var run dashboard.Replay
	if err := a.get(ctx, path, &run); err != nil {
		return err
	}
	if follow {
		return c.follow(ctx, a, run, out)
	}
	if out.name == "table" {
		return c.replaySummary(ctx, a, path, run)
	}
	items, err := allItems(ctx, a, path)
	if err != nil {
		return err
	}
	whole := struct {
		dashboard.Replay
		Items []dashboard.ReplayItem `json:"items"`
	}{run, items}
	return render(c.out, out, whole, items, nil)
}

// replaySummary shows a replay, and the letters that somebody should look at.
func (c *cli) replaySummary(ctx context.Context, a *api, path string, run dashboard.Replay) error {
	if err := printReplay(c.out, format{"table"}, run); err != nil {
		return err
	}
	switch {
	case run.Problem == "":
	case run.State == store.ReplayRunning:
		fmt.Fprintf(c.out, "\nit tries again: %s\n", run.Problem)
	default:
		fmt.Fprintf(c.out, "\nit has paused: %s\n", run.Problem)
	}
	for _, state := range []store.ItemState{store.ItemDead, store.ItemSkipped} {
		var page dashboard.ReplayItems
		if err := a.get(ctx, fmt.Sprintf("%s/items?state=%s&limit=%d", path, state, shownItems), &page); err != nil {
			return err
		}
		for _, i := range page.Items {
			fmt.Fprintf(c.out, "letter %d: %s %s\n", i.Letter, i.State, i.Why)
		}
		if page.Next != 0 {
			fmt.Fprintln(c.out, "… --output ndjson shows all")
		}
	}
	return nil
}

func allItems(ctx context.Context, a *api, path string) ([]dashboard.ReplayItem, error) {
	all := []dashboard.ReplayItem{}
	after := int64(0)
	for {
		var page dashboard.ReplayItems
		if err := a.get(ctx, fmt.Sprintf("%s/items?after=%d&limit=%d", path, after, store.MaxPage), &page); err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if after = page.Next; after == 0 {
			return all, nil
		}
	}
}

// replayMoveCommand is pause, resume or cancel.
func (c *cli) replayMoveCommand(verb, short string) *cobra.Command {
	var out format
	var why string
	cmd := &cobra.Command{
		Use: verb + " ID", Short: short, Long: short + ". Letters that were sent already go on.",
		Example: "  waybill dlq replay " + verb + " 4 --why 'the warehouse asked for it'",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := replayID(args[0])
			if err == nil {
				err = out.check()
			}
			if err != nil {
				return err
			}
			return c.with(func(a *api) error {
				var run dashboard.Replay
				path := fmt.Sprintf("%s/%d/%s", replaysPath, id, verb)
				if err := a.send(cmd.Context(), http.MethodPost, path, map[string]string{"why": why}, &run); err != nil {
					return err
				}
				return printReplay(c.out, out, run)
			})
		},
	}
	out.add(cmd)
	cmd.Flags().StringVar(&why, "why", "", "for the audit log")
	return cmd
}
