package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/user"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const lettersPath = "/api/v1/dead-letters"

func (c *cli) dlqCommand() *cobra.Command {
	cmd := &cobra.Command{
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Use:   "dlq",
		Short: "Look at dead letters, repair them, put them aside, send them back",
		Long: "Dead letters are messages that a handler gave up on. A waybill that runs on the config's data folder is asked, or the\n" +
			"one that --server names; if none runs, the store is opened directly. Every change is in the audit log, with the user's name.\n\n" +
			"Exit codes: 0 done, 1 failure, 2 wrong usage, 3 not reachable, 4 no such letter, 5 refused (its state or version is another),\n" +
			"6 done for some and refused for others.",
		Example: "  waybill dlq groups\n  waybill dlq ls --handler prepare --since 24h --pointer /customer/id=c-7\n" +
			"  waybill dlq show 17\n  waybill dlq archive --group 3f9c0a1b22d4e5f6 --why 'test orders'",
	}
	for _, sub := range []*cobra.Command{
		c.dlqListCommand(), c.dlqGroupsCommand(), c.dlqShowCommand(), c.dlqNoteCommand(), c.dlqArchiveCommand(), c.dlqRestoreCommand(),
		c.dlqEditCommand(), c.dlqReplayCommand(), c.dlqExportCommand(), c.dlqImportCommand(), c.dlqAuditCommand(),
	} {
		c.serverFlags(sub)
		cmd.AddCommand(sub)
	}
	return cmd
}

// with runs f with the API of a running Waybill, or with one of this process.
func (c *cli) with(f func(*api) error) error {
	a, err := c.reachAPI()
	if err != nil {
		return err
	}
	defer a.close()
	return f(a)
}

// send sends v as JSON, with the user's name for the audit log, and decodes the
// answer into out, which may be nil.
func (a *api) send(ctx context.Context, method, path string, v, out any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	res, err := a.do(ctx, method, path, http.Header{"Content-Type": {"application/json"}, "Waybill-Actor": {actor()}}, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if out == nil {
		return nil
	}
	return json.UnmarshalRead(res.Body, out)
}

// actor is who changes something, for the audit log.
func actor() string {
	if u, err := user.Current(); err == nil && u.Username != "" {
		return u.Username
	}
	return "uid " + strconv.Itoa(os.Getuid())
}

// letterFlags are the flags that say which letters are meant.
type letterFlags struct {
	dashboard.LetterCondition
	since string
	all   bool
}

func (f *letterFlags) add(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&f.Message, "id", "", "with this message id")
	flags.StringVar(&f.Handler, "handler", "", "of this handler")
	flags.StringVar(&f.Topic, "topic", "", "that were read from this topic")
	flags.StringVar(&f.Key, "key", "", "with this key")
	flags.StringVar(&f.Reason, "reason", "", "that failed for this reason: invalid, rejected, unavailable, timeout, …")
	flags.StringVar(&f.State, "state", "", "in this state: DEAD, REPLAYING, ARCHIVED or COMPLETED")
	flags.StringVar(&f.Group, "group", "", "of this group, by its fingerprint: see waybill dlq groups")
	flags.StringVar(&f.Parked, "parked", "", "true: that were replayed too often; false: the others")
	flags.StringArrayVar(&f.Header, "header", nil, "with this header: name=value")
	flags.StringArrayVar(&f.Pointer, "pointer", nil, "with this value in their JSON: /customer/id=c-7")
	flags.StringVar(&f.Text, "text", "", "with this text in payload or error")
	flags.StringVar(&f.since, "since", "", "that failed since then: 24h, or 2026-01-31T08:00:00Z")
	flags.StringVar(&f.JSON, "filter", "", `that match a condition as JSON: {"or": [{"field": "key", "value": "7"}, …]}`)
}

// condition is what the flags say.
func (f *letterFlags) condition() (store.Filter, error) {
	f.Since = since(f.since)
	filter, err := f.Filter()
	return filter, exit(exitUsage, err)
}

// since is the time that a flag says, or that is as long ago as it says.
func since(text string) string {
	if d, err := time.ParseDuration(text); err == nil {
		return time.Now().Add(-d).UTC().Format(time.RFC3339Nano)
	}
	return text
}

// query is a condition as the query of a URL.
func query(filter store.Filter, more ...string) (url.Values, error) {
	q := url.Values{}
	for i := 0; i < len(more); i += 2 {
		q.Set(more[i], more[i+1])
	}
	if len(filter.And) == 0 {
		return q, nil
	}
	text, err := json.Marshal(filter)
	q.Set("filter", string(text))
	return q, err
}

// format is the form of an output.
type format struct{ name string }

func (f *format) add(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&f.name, "output", "o", "table", "table, json or ndjson")
}

func (f *format) check() error {
	if !slices.Contains([]string{"table", "json", "ndjson"}, f.name) {
		return exit(exitUsage, fmt.Errorf("--output %q: want table, json or ndjson", f.name))
	}
	return nil
}

// render writes whole as JSON, or each of items in a line of its own, or what
// table writes.
func render[T any](w io.Writer, f format, whole any, items []T, table func(io.Writer)) error {
	switch f.name {
	case "json":
		if err := json.MarshalWrite(w, whole, jsontext.WithIndent("  "), json.Deterministic(true)); err != nil {
			return err
		}
		_, err := io.WriteString(w, "\n")
		return err
	case "ndjson":
		for _, item := range items {
			line, err := json.Marshal(item, json.Deterministic(true))
			if err != nil {
				return err
			}
			if _, err := w.Write(append(line, '\n')); err != nil {
				return err
			}
		}
		return nil
	}
	columns := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	table(columns)
	return columns.Flush()
}

// letterID reads an argument.
func letterID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, exit(exitUsage, fmt.Errorf("%q is not the id of a dead letter: waybill dlq ls lists them", text))
	}
	return id, nil
}

// agree asks the user, until ctx ends. Where there is nobody to ask it does not.
func (c *cli) agree(ctx context.Context, question string, yes bool) error {
	if yes {
		return nil
	}
	if file, ok := c.in.(*os.File); ok && !isatty.IsTerminal(file.Fd()) {
		return exit(exitUsage, errors.New("nothing was changed: the standard input is no terminal, so nobody can be asked: give --yes"))
	}
	fmt.Fprintf(c.err, "%s [y/N] ", question)
	replies := make(chan string, 1)
	go func() { // nothing ends a read of a terminal: the process does
		var reply string
		_, _ = fmt.Fscanln(c.in, &reply) // no answer is no
		replies <- reply
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(c.err)
	case reply := <-replies:
		if reply == "y" || reply == "yes" {
			return nil
		}
	}
	return exit(exitRefused, errors.New("nothing was changed: answer y, or give --yes"))
}
