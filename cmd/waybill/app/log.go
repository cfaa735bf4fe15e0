package app

import (
	"cmp"
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

func (c *cli) logCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "log",
		Short: "What happened to messages: the message log",
		Long: "The message log has a row a message and handler: its state, every attempt, and the lines that the handler\n" +
			"logged while it had the message. The keys of message_log in the config say what is kept, and for how long.",
		Example: "  waybill log search --state failed --since 1h\n  waybill log show 0192d1c8-… --level debug\n  waybill log tail --handler prepare",
		Args:    cobra.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(c.logSearchCommand(), c.logShowCommand(), c.logTailCommand())
	return cmd
}

// logFlags say which entries of the message log a command is about.
type logFlags struct {
	where        dashboard.LogCondition
	since, until string
}

func (f *logFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.where.ID, "id", "", "the message's id")
	flags.StringVar(&f.where.Handler, "handler", "", "the handler")
	flags.StringVar(&f.where.Topic, "topic", "", "the topic that it came from")
	flags.StringVar(&f.where.Key, "key", "", "its key")
	flags.StringVar(&f.where.Correlation, "correlation", "", "its conversation")
	flags.StringVar(&f.where.Reason, "reason", "", "why it failed last, for example timeout")
	flags.StringSliceVar(&f.where.State, "state", nil, "states, or views: queued, failed, completed, requeued; repeat it, or use commas")
	flags.StringArrayVar(&f.where.Header, "header", nil, "a header and its value: tenant=north")
	flags.StringArrayVar(&f.where.Pointer, "pointer", nil, "a JSON Pointer into the payload and the value there: /orderId=7")
	flags.StringVar(&f.where.Text, "text", "", "in payload, errors or lines; upper and lower case alike")
	flags.StringVar(&f.since, "since", "", "changed since a time (2026-01-31T08:00:00Z), or so long ago (15m, 2d)")
	flags.StringVar(&f.until, "until", "", "changed before a time, likewise")
	flags.StringVar(&f.where.JSON, "filter", "", `a condition as JSON, with and, or, not: {"not":{"field":"key","value":"7"}}`)
}

// query is the flags as the API takes them. What makes no sense is an error of
// usage.
func (f *logFlags) query() (url.Values, error) {
	var err error
	if f.where.Since, err = moment(f.since, time.Now()); err != nil {
		return nil, exit(exitUsage, fmt.Errorf("--since %w", err))
	}
	if f.where.Until, err = moment(f.until, time.Now()); err != nil {
		return nil, exit(exitUsage, fmt.Errorf("--until %w", err))
	}
	filter, err := f.where.Filter()
	if err != nil {
		return nil, exit(exitUsage, err)
	}
	if len(filter.And) == 0 {
		return url.Values{}, nil
	}
	text, err := json.Marshal(filter, json.Deterministic(true))
	return url.Values{"filter": {string(text)}}, err
}

// moment reads a time, or how long ago it was, and writes it as RFC 3339.
func moment(text string, now time.Time) (string, error) {
	if text == "" {
		return "", nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at.Format(time.RFC3339Nano), nil
	}
	ago, err := time.ParseDuration(text)
	if digits, isDays := strings.CutSuffix(text, "d"); isDays {
		var days int
		days, err = strconv.Atoi(digits)
		ago = time.Duration(days) * 24 * time.Hour
	}
	if err != nil || ago < 0 {
		return "", fmt.Errorf("%q: want a time such as 2026-01-31T08:00:00Z, or how long ago: 15m, 36h, 2d", text)
	}
	return now.Add(-ago).Format(time.RFC3339Nano), nil
}

// outputFlag adds --output, and returns what gives its value, checked.
func outputFlag(cmd *cobra.Command) func() (string, error) {
	output := cmd.Flags().StringP("output", "o", "table", "table, json or ndjson")
	return func() (string, error) {
		switch *output {
		case "table", "json", "ndjson":
			return *output, nil
		}
		return "", exit(exitUsage, fmt.Errorf("--output %q: want table, json or ndjson", *output))
	}
}

func (c *cli) logSearchCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "search",
		Short: "Search the message log",
		Long: "Prints entries newest first, those that are being handled right now before them. All flags must be true of an entry.\n" +
			"Finding nothing is no failure.",
		Example: "  waybill log search --state failed --since 1h\n" +
			"  waybill log search --pointer /orderId=7 --output json\n" +
			"  waybill log search --text 'no such sku' -n 0 --output ndjson",
		Args: cobra.NoArgs,
	}
	c.serverFlags(cmd)
	f.add(cmd)
	n := cmd.Flags().IntP("number", "n", store.DefaultPage, "at most so many; 0: all")
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		form, err := output()
		if err != nil {
			return err
		}
		query, err := f.query()
		if err != nil {
			return err
		}
		if form == "table" {
			query.Set("bare", "true")
		}
		a, err := c.reachAPI()
		if err != nil {
			return err
		}
		defer a.close()
		p := newLogPrinter(c.out, form)
		if err := a.searchLog(cmd.Context(), query, *n, p.entry); err != nil {
			return err
		}
		return p.end()
	}
	return cmd
}

// searchLog goes through the pages of a search until there were n; 0: all.
func (a *api) searchLog(ctx context.Context, query url.Values, n int, each func(dashboard.LogEntry) error) error {
	left := cmp.Or(n, -1)
	for {
		if left > 0 {
			query.Set("limit", strconv.Itoa(min(left, store.MaxPage)))
		}
		var page struct {
			Entries []dashboard.LogEntry `json:"entries"`
			Next    string               `json:"next"`
		}
		if err := a.get(ctx, "/api/v1/log?"+query.Encode(), &page); err != nil {
			return err
		}
		for _, e := range page.Entries {
			if err := each(e); err != nil {
				return err
			}
			if left--; left == 0 {
				return nil
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("cursor", page.Next)
	}
}

func (c *cli) logShowCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "show MESSAGE",
		Short: "Show the journey of a message",
		Long: "Prints the message in every handler, with each attempt and the lines that the handler logged, and all messages of\n" +
			"its conversation. With --handler only that one. Exits with 4 if the log has nothing of it.",
		Example: "  waybill log show 0192d1c8-7d1e-7000-8000-5f1c2a3b4c5d\n" +
			"  waybill log show 0192d1c8-7d1e-7000-8000-5f1c2a3b4c5d --handler prepare --level debug --output json",
		Args: cobra.ExactArgs(1),
	}
	c.serverFlags(cmd)
	handler := cmd.Flags().String("handler", "", "only in this handler")
	level := levelFlag(cmd)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		form, err := output()
		if err != nil {
			return err
		}
		least, err := level()
		if err != nil {
			return err
		}
		a, err := c.reachAPI()
		if err != nil {
			return err
		}
		defer a.close()
		entries, err := a.journey(cmd.Context(), args[0], *handler)
		if err != nil {
			return err
		}
		p := newLogPrinter(c.out, form)
		for _, e := range entries {
			if err := p.whole(atLeast(e, least)); err != nil {
				return err
			}
		}
		return p.end()
	}
	return cmd
}

func (a *api) journey(ctx context.Context, message, handler string) ([]dashboard.LogEntry, error) {
	if handler != "" {
		var e dashboard.LogEntry
		err := a.get(ctx, "/api/v1/log/"+url.PathEscape(handler)+"/"+url.PathEscape(message), &e)
		return []dashboard.LogEntry{e}, err
	}
	var journey struct {
		Entries []dashboard.LogEntry `json:"entries"`
	}
	err := a.get(ctx, "/api/v1/messages/"+url.PathEscape(message), &journey)
	return journey.Entries, err
}
