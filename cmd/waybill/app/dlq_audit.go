package app

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func (c *cli) dlqAuditCommand() *cobra.Command {
	var actor, action, from string
	var out format
	var n int
	cmd := &cobra.Command{
		Use:   "audit",
		Short: "List who changed what, when and why, newest first",
		Long:  "Lists the entries of the audit log for which all that is given is true. Each change of dead letters has one, and nothing deletes it.",
		Example: "  waybill dlq audit\n  waybill dlq audit --actor ada --since 24h\n" +
			"  waybill dlq audit --action replay --output ndjson -n 0",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := out.check(); err != nil {
				return err
			}
			q := url.Values{"actor": {actor}, "action": {action}}
			if from != "" {
				q.Set("since", since(from))
			}
			return c.with(func(a *api) error { return c.audit(cmd.Context(), a, q, n, out) })
		},
	}
	cmd.Flags().StringVar(&actor, "actor", "", "by this user")
	cmd.Flags().StringVar(&action, "action", "", "of this kind: archive, restore, edit, note, import, replay, …")
	cmd.Flags().StringVar(&from, "since", "", "made since then: 24h, or 2026-01-31T08:00:00Z")
	cmd.Flags().IntVarP(&n, "number", "n", 50, "how many; 0: all")
	out.add(cmd)
	return cmd
}

func (c *cli) audit(ctx context.Context, a *api, q url.Values, n int, out format) error {
	all := dashboard.AuditPage{Entries: []dashboard.AuditEntry{}}
	for {
		size := store.MaxPage
		if n > 0 {
			size = min(n-len(all.Entries), size)
		}
		q.Set("limit", fmt.Sprint(size))
		q.Set("cursor", all.Next)
		var page dashboard.AuditPage
		if err := a.get(ctx, "/api/v1/audit?"+q.Encode(), &page); err != nil {
			return err
		}
		all.Entries, all.Next = append(all.Entries, page.Entries...), page.Next
		if page.Next == "" || n > 0 && len(all.Entries) >= n {
			break
		}
	}
	if all.Next != "" {
		fmt.Fprintf(c.err, "the last %d; -n 0 lists all\n", len(all.Entries))
	}
	return render(c.out, out, all, all.Entries, func(w io.Writer) {
		fmt.Fprintln(w, "AT\tBY\tACTION\tCOUNT\tON\tDETAIL\tWHY")
		for _, e := range all.Entries {
			fmt.Fprintf(w, "%s\t%s\t%s\t%d\t%s\t%s\t%s\n", e.At.Format(time.RFC3339), oneLine(e.Actor, 20), e.Action, e.Count,
				oneLine(target(e), 60), oneLine(e.Detail, 40), oneLine(e.Why, 60))
		}
	})
}

// target is what an entry is about.
func target(e dashboard.AuditEntry) string {
	switch {
	case len(e.On) > 0:
		return fmt.Sprint(e.On)
	case e.Filter == nil:
		return ""
	}
	text, _ := json.Marshal(e.Filter) // of text: it cannot fail
	return string(text)
}
