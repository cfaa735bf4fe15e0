package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func (c *cli) dlqNoteCommand() *cobra.Command {
	var which letterFlags
	var why string
	cmd := &cobra.Command{
		Use:     "note [ID] TEXT",
		Short:   "Say something about a dead letter or a group",
		Long:    "Sets the note of a letter, or with --handler and --group that of a group. An empty text removes it.",
		Example: "  waybill dlq note 17 'the customer was called'\n  waybill dlq note --handler prepare --group 3f9c0a1b22d4e5f6 'warehouse is down, see #88'",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			path := fmt.Sprintf("%s/groups/%s/%s/note", lettersPath, url.PathEscape(which.Handler), url.PathEscape(which.Group))
			switch isGroup := which.Handler != "" && which.Group != ""; {
			case isGroup == (len(args) == 2):
				return exit(exitUsage, errors.New("give the id of a letter and a text, or --handler, --group and a text"))
			case !isGroup:
				id, err := letterID(args[0])
				if err != nil {
					return err
				}
				path = fmt.Sprintf("%s/%d/note", lettersPath, id)
			}
			return c.with(func(a *api) error {
				return a.send(cmd.Context(), http.MethodPut, path, map[string]string{"note": args[len(args)-1], "why": why}, nil)
			})
		},
	}
	cmd.Flags().StringVar(&which.Handler, "handler", "", "the group's handler")
	cmd.Flags().StringVar(&which.Group, "group", "", "the group's fingerprint")
	cmd.Flags().StringVar(&why, "why", "", "for the audit log")
	return cmd
}

// moveCommand is `dlq archive` or `dlq restore`.
type moveCommand struct {
	*cli
	which   letterFlags
	out     format
	verb    string
	from    store.State
	why     string
	expires string
	yes     bool
	giveUp  bool
}

func (c *cli) dlqArchiveCommand() *cobra.Command {
	m := &moveCommand{cli: c, verb: "archive", from: store.Dead}
	cmd := m.command("Put dead letters aside",
		"Archives the letters that are named, or those that are DEAD and for which all that is given is true; it says how many and asks\n"+
			"first. They can be restored until --expires, when they are deleted. What its handler holds back behind such a letter goes on.",
		"  waybill dlq archive 17 18 --why 'test orders'\n  waybill dlq archive --group 3f9c0a1b22d4e5f6 --expires 720h\n"+
			"  waybill dlq archive --handler prepare --filter '{\"not\":{\"field\":\"key\",\"value\":\"7\"}}' --yes --output json")
	cmd.Flags().StringVar(&m.expires, "expires", "", "delete them then: 720h, or 2026-01-31T08:00:00Z; not given: never")
	return cmd
}

func (c *cli) dlqRestoreCommand() *cobra.Command {
	m := &moveCommand{cli: c, verb: "restore", from: store.Archived}
	cmd := m.command("Bring archived dead letters back, or give up their replay",
		"Makes letters DEAD again: those that are named, or those that are ARCHIVED and for which all that is given is true.\n"+
			"With --give-up it is those that are REPLAYING, whose messages wait, say for a handler that is not in the config any more.",
		"  waybill dlq restore 17\n  waybill dlq restore --handler prepare --since 24h\n  waybill dlq restore --give-up --handler old-name")
	cmd.Flags().BoolVar(&m.giveUp, "give-up", false, "those that are REPLAYING: their messages wait for their handler no more")
	return cmd
}

func (m *moveCommand) command(short, long, examples string) *cobra.Command {
	cmd := &cobra.Command{
		Use: m.verb + " [ID...]", Short: short, Long: long, Example: examples,
		RunE: func(cmd *cobra.Command, args []string) error { return m.run(cmd.Context(), args) },
	}
	m.which.add(cmd)
	m.out.add(cmd)
	cmd.Flags().BoolVar(&m.which.all, "all", false, "all of them")
	cmd.Flags().StringVar(&m.why, "why", "", "for the audit log")
	cmd.Flags().BoolVarP(&m.yes, "yes", "y", false, "do not ask")
	return cmd
}

// moveRequest is the body of the API's call.
type moveRequest struct {
	IDs     []int64       `json:"ids,omitzero"`
	Filter  *store.Filter `json:"filter,omitzero"`
	UpTo    int64         `json:"up_to,omitzero"`
	Why     string        `json:"why,omitzero"`
	Expires time.Time     `json:"expires,omitzero"`
	GiveUp  bool          `json:"give_up,omitzero"`
}

func (m *moveCommand) run(ctx context.Context, args []string) error {
	request := moveRequest{Why: m.why, GiveUp: m.giveUp}
	if m.giveUp {
		m.from = store.Replaying
	}
	filter, err := m.which.condition()
	if err == nil {
		err = m.out.check()
	}
	if err != nil {
		return err
	}
	for _, arg := range args {
		id, err := letterID(arg)
		if err != nil {
			return err
		}
		request.IDs = append(request.IDs, id)
	}
	switch filtered := len(filter.And) > 0; {
	case filtered && m.which.all, filtered == (len(args) > 0) && !m.which.all, m.which.all && len(args) > 0:
		return exit(exitUsage, fmt.Errorf("say which letters to %s: by their ids, by flags such as --group, or --all", m.verb))
	case len(args) == 0:
		request.Filter = &filter
	}
	if request.Expires, err = expiry(m.expires); err != nil {
		return err
	}
	return m.with(func(a *api) error { return m.move(ctx, a, request) })
}

// expiry is a time from now, or the one that is given.
func expiry(text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(d), nil
	}
	t, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return t, exit(exitUsage, fmt.Errorf("%q is no time: write 720h, or 2026-01-31T08:00:00Z", text))
	}
	return t, nil
}

func (m *moveCommand) move(ctx context.Context, a *api, request moveRequest) error {
	if request.Filter != nil && !m.yes {
		q, err := query(store.And(*request.Filter, store.Is(store.FieldState, string(m.from))), "total", "true", "limit", "1")
		if err != nil {
			return err
		}
		var page dashboard.LetterPage
		if err := a.get(ctx, lettersPath+"?"+q.Encode(), &page); err != nil {
			return err
		}
		if len(page.Letters) == 0 {
			return exit(exitNotFound, fmt.Errorf("nothing to %s: no dead letter that is %s matches: waybill dlq ls lists them", m.verb, m.from))
		}
		request.UpTo = page.Letters[0].ID // what comes while the user thinks was not counted
		if err := m.agree(ctx, fmt.Sprintf("%s %d dead letters?", m.verb, *page.Total), false); err != nil {
			return err
		}
	}
	var moved dashboard.Moved
	if err := a.send(ctx, http.MethodPost, lettersPath+"/"+m.verb, request, &moved); err != nil {
		return err
	}
	err := render(m.cli.out, m.out, moved, []dashboard.Moved{moved}, func(w io.Writer) { fmt.Fprintf(w, "%sd %d\n", m.verb, moved.Count) })
	if err != nil {
		return err
	}
	return verdict(moved)
}

// verdict is the exit code of what was refused.
func verdict(moved dashboard.Moved) error {
	if len(moved.Refused) == 0 {
		return nil
	}
	code := codeOf(moved.Refused[0].Status)
	var errs []error
	for _, r := range moved.Refused {
		errs = append(errs, errors.New(r.Error))
		if codeOf(r.Status) != code {
			code = exitRefused
		}
	}
	if moved.Count > 0 {
		code = exitPartial
	}
	return exit(code, errors.Join(errs...))
}
