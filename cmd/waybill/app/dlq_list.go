package app

import (
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func (c *cli) dlqListCommand() *cobra.Command {
	var which letterFlags
	var out format
	var n int
	cmd := &cobra.Command{
		Use:   "ls",
		Short: "List dead letters, newest first",
		Long:  "Lists the dead letters for which all that is given is true. Without --state, in every state.",
		Example: "  waybill dlq ls --state DEAD\n  waybill dlq ls --handler prepare --reason timeout --since 24h\n" +
			"  waybill dlq ls --pointer /customer/id=c-7 --text 'out of stock' --output ndjson -n 0",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := which.condition()
			if err == nil {
				err = out.check()
			}
			if err != nil {
				return err
			}
			return c.with(func(a *api) error { return c.list(cmd.Context(), a, filter, n, out) })
		},
	}
	which.add(cmd)
	out.add(cmd)
	cmd.Flags().IntVarP(&n, "number", "n", 50, "how many; 0: all")
	return cmd
}

func (c *cli) list(ctx context.Context, a *api, filter store.Filter, n int, out format) error {
	all := dashboard.LetterPage{Letters: []dashboard.Letter{}}
	for {
		q, err := query(filter, "total", "true", "limit", fmt.Sprint(store.MaxPage))
		if err != nil {
			return err
		}
		if n > 0 {
			q.Set("limit", fmt.Sprint(min(n-len(all.Letters), store.MaxPage)))
		}
		if all.Next != "" {
			q.Set("cursor", all.Next)
			q.Del("total")
		}
		var page dashboard.LetterPage
		if err := a.get(ctx, lettersPath+"?"+q.Encode(), &page); err != nil {
			return err
		}
		all.Letters, all.Next = append(all.Letters, page.Letters...), page.Next
		if page.Total != nil {
			all.Total = page.Total
		}
		if page.Next == "" || n > 0 && len(all.Letters) >= n {
			break
		}
	}
	if all.Next != "" {
		fmt.Fprintf(c.err, "%d of %d; -n 0 lists all\n", len(all.Letters), *all.Total)
	}
	return render(c.out, out, all, all.Letters, func(w io.Writer) {
		fmt.Fprintln(w, "ID\tSTATE\tHANDLER\tREASON\tLAST FAILURE\tKEY\tERROR")
		for _, l := range all.Letters {
			fmt.Fprintf(w, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", l.ID, l.State, l.Handler, l.Reason, l.Last.Format(time.RFC3339), oneLine(l.Key, 20), oneLine(l.Error, 100))
		}
	})
}

func (c *cli) dlqGroupsCommand() *cobra.Command {
	var which letterFlags
	var out format
	var by string
	var all bool
	cmd := &cobra.Command{
		Use:   "groups",
		Short: "List dead letters by their cause",
		Long: "Lists groups of letters of one cause (error type, the message without what varies, the first own frame) in one handler,\n" +
			"the latest first. With --by it counts letters by a header or a member of their JSON instead, of those for which the\n" +
			"other flags are true.",
		Example: "  waybill dlq groups\n  waybill dlq groups --handler prepare --output json\n" +
			"  waybill dlq groups --by pointer:/customer/id --reason rejected\n  waybill dlq groups --by header:tenant",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			handler := which.Handler
			which.Handler = "" // alone it is no filter to the API
			filter, err := which.condition()
			if err == nil {
				err = out.check()
			}
			if err != nil {
				return err
			}
			q, err := query(filter, "by", by, "all", fmt.Sprint(all), "handler", handler, "limit", fmt.Sprint(store.MaxPage))
			if err != nil {
				return err
			}
			var groups dashboard.LetterGroups
			err = c.with(func(a *api) error { return a.get(cmd.Context(), lettersPath+"/groups?"+q.Encode(), &groups) })
			if err != nil {
				return err
			}
			if by != "" {
				return render(c.out, out, groups, groups.Values, func(w io.Writer) { valueTable(w, by, groups.Values) })
			}
			return render(c.out, out, groups, groups.Groups, func(w io.Writer) { groupTable(w, groups.Groups) })
		},
	}
	which.add(cmd)
	out.add(cmd)
	cmd.Flags().StringVar(&by, "by", "", "header:NAME or pointer:/POINTER")
	cmd.Flags().BoolVar(&all, "all", false, "also groups with nothing that is dead or being replayed")
	return cmd
}

func groupTable(w io.Writer, groups []dashboard.LetterGroup) {
	fmt.Fprintln(w, "GROUP\tHANDLER\tDEAD\tREPLAYING\tARCHIVED\tREASON\tLAST FAILURE\tERROR\tNOTE")
	for _, g := range groups {
		fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d\t%s\t%s\t%s\t%s\n", g.Fingerprint, g.Handler, g.Counts[store.Dead], g.Counts[store.Replaying],
			g.Counts[store.Archived], g.Reason, g.Last.Format(time.RFC3339), oneLine(g.Error, 80), oneLine(g.Note, 40))
	}
}

func valueTable(w io.Writer, by string, values []dashboard.ValueGroup) {
	fmt.Fprintf(w, "%s\tLETTERS\tFIRST FAILURE\tLAST FAILURE\n", strings.ToUpper(by))
	for _, v := range values {
		value := oneLine(v.Value, 60)
		if v.Missing {
			value = "(none)"
		}
		fmt.Fprintf(w, "%s\t%d\t%s\t%s\n", value, v.Count, v.First.Format(time.RFC3339), v.Last.Format(time.RFC3339))
	}
}

func (c *cli) dlqShowCommand() *cobra.Command {
	var out format
	var original, payload bool
	cmd := &cobra.Command{
		Use:     "show ID",
		Short:   "Show one dead letter",
		Long:    "Shows what happened, the headers and the payload. --payload writes the payload alone, byte for byte.",
		Example: "  waybill dlq show 17\n  waybill dlq show 17 --payload > order.json\n  waybill dlq show 17 --original --output json",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := letterID(args[0])
			if err == nil {
				err = out.check()
			}
			if err != nil {
				return err
			}
			var l dashboard.Letter
			err = c.with(func(a *api) error {
				path := fmt.Sprintf("%s/%d", lettersPath, id)
				if err := a.get(cmd.Context(), path, &l); err != nil || !original {
					return err
				}
				l.Content = dashboard.Content{}
				return a.get(cmd.Context(), path+"/original", &l.Content)
			})
			switch {
			case err != nil:
				return err
			case payload:
				_, err = c.out.Write(l.Content.Content().Payload)
				return err
			}
			return render(c.out, out, l, []dashboard.Letter{l}, func(w io.Writer) { letterTable(w, l) })
		},
	}
	out.add(cmd)
	cmd.Flags().BoolVar(&original, "original", false, "with the content as it died, of a letter that was edited")
	cmd.Flags().BoolVar(&payload, "payload", false, "write the payload alone")
	return cmd
}

func letterTable(w io.Writer, l dashboard.Letter) {
	line := func(name string, value any) {
		if text := fmt.Sprint(value); text != "" {
			fmt.Fprintf(w, "%s:\t%s\n", name, oneLine(text, wide))
		}
	}
	line("dead letter", l.ID)
	line("state", l.State)
	line("version", l.Version)
	line("message", l.Message)
	line("handler", l.Handler)
	line("from", fmt.Sprintf("%s, partition %d, offset %d", l.Topic, l.Partition, l.Offset))
	line("key", l.Key)
	line("correlation", l.Correlation)
	line("reason", l.Reason)
	line("error", l.Error)
	line("type", l.ErrorType)
	line("group", l.Fingerprint)
	line("attempts", fmt.Sprintf("%d, from %s to %s", l.Attempts, l.First.Format(time.RFC3339), l.Last.Format(time.RFC3339)))
	line("deaths", fmt.Sprintf("%d, replays %d", l.Deaths, l.Replays))
	line("note", l.Note)
	if l.Expires != nil {
		line("expires", l.Expires.Format(time.RFC3339))
	}
	if l.Edited {
		line("edited", "the original is kept: --original shows it")
	}
	content := l.Content.Content()
	for _, name := range slices.Sorted(maps.Keys(content.Headers)) {
		line("header "+fmt.Sprintf("%+q", name), fmt.Sprintf("%+q", content.Headers[name]))
	}
	for _, text := range []string{l.Stack, string(content.Payload)} {
		if text != "" {
			fmt.Fprintf(w, "\n%s\n", onTerminal(strings.TrimRight(text, "\n")))
		}
	}
}

// onTerminal leaves out of text what would steer a terminal.
func onTerminal(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' {
			return '\uFFFD'
		}
		return r
	}, text)
}
