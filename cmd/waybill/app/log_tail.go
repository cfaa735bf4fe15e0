package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"slices"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/messagelog"
)

// levelFlag adds --level, and returns what gives its value.
func levelFlag(cmd *cobra.Command) func() (slog.Level, error) {
	text := cmd.Flags().String("level", "info", "least level of the lines shown: debug, info, warn or error")
	return func() (slog.Level, error) {
		var level slog.Level
		if err := level.UnmarshalText([]byte(*text)); err != nil {
			return 0, exit(exitUsage, fmt.Errorf("--level %q: want debug, info, warn or error", *text))
		}
		return level, nil
	}
}

func isAtLeast(line dashboard.LogLine, least slog.Level) bool {
	var level slog.Level
	return level.UnmarshalText([]byte(line.Level)) != nil || level >= least
}

// atLeast leaves out the lines of lower levels.
func atLeast(e dashboard.LogEntry, least slog.Level) dashboard.LogEntry {
	for i := range e.Attempts {
		e.Attempts[i].Lines = slices.DeleteFunc(e.Attempts[i].Lines, func(line dashboard.LogLine) bool { return !isAtLeast(line, least) })
	}
	return e
}

func (c *cli) logTailCommand() *cobra.Command {
	var f logFlags
	cmd := &cobra.Command{
		Use:   "tail",
		Short: "Watch what happens to messages",
		Long: "Prints, as it happens, what a running waybill does with its messages: when a run begins, the lines that the handler\n" +
			"logs, how it ends. Nothing is held up by it. Exits with 3 if no waybill runs.",
		Example: "  waybill log tail --handler prepare\n  waybill log tail --key 7 --level debug --output ndjson -n 20",
		Args:    cobra.NoArgs,
	}
	c.serverFlags(cmd)
	f.add(cmd)
	n := cmd.Flags().IntP("number", "n", 0, "stop after so many; 0: go on until Ctrl-C")
	level := levelFlag(cmd)
	output := outputFlag(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		form, err := output()
		if err != nil {
			return err
		}
		least, err := level()
		if err != nil {
			return err
		}
		query, err := f.query()
		if err != nil {
			return err
		}
		shown := 0
		err = c.tailLog(cmd.Context(), query, func(e dashboard.LogEvent) error {
			if e.Event == messagelog.EventLine && !isAtLeast(*e.Line, least) {
				return nil
			}
			if err := c.printEvent(e, form); err != nil {
				return err
			}
			if shown++; shown == *n {
				return errEnough
			}
			return nil
		})
		if errors.Is(err, errEnough) || cmd.Context().Err() != nil {
			return nil
		}
		return err
	}
	return cmd
}

func (c *cli) tailLog(ctx context.Context, query url.Values, each func(dashboard.LogEvent) error) error {
	a, err := c.reachAPI()
	if err != nil {
		return err
	}
	defer a.close()
	if !a.running {
		return exit(exitUnreachable, errors.New("no waybill runs on this data folder, so nothing happens to messages: what has happened is in `waybill log search`"))
	}
	res, err := a.do(ctx, http.MethodGet, "/api/v1/log/tail?"+query.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	fmt.Fprintln(c.err, "watching")
	for line, err := range lines(res.Body) {
		if err != nil {
			return exit(exitUnreachable, fmt.Errorf("read from waybill: %w", err))
		}
		var e dashboard.LogEvent
		if err := json.Unmarshal(line, &e); err != nil {
			return fmt.Errorf("read from waybill: %w", err)
		}
		if err := each(e); err != nil {
			return err
		}
	}
	return exit(exitUnreachable, errors.New("waybill has stopped"))
}

// printEvent writes one event: a line for people, or of JSON.
func (c *cli) printEvent(e dashboard.LogEvent, form string) error {
	if form != "table" {
		line, err := json.Marshal(e, json.Deterministic(true))
		if err != nil {
			return err
		}
		_, err = c.out.Write(append(line, '\n'))
		return err
	}
	what := string(e.Event)
	switch e.Event {
	case messagelog.EventBegan:
		what = fmt.Sprintf("attempt %d begins", e.Attempt)
	case messagelog.EventLine:
		what = lineText(*e.Line)
	case messagelog.EventFailed:
		what = fmt.Sprintf("attempt %d failed: %s: %s", e.Attempt, e.Reason, oneLine(e.Error, wide))
	case messagelog.EventEnded:
		what = string(e.State)
	}
	if e.Missed > 0 {
		what = fmt.Sprintf("(%d before this were missed) %s", e.Missed, what)
	}
	_, err := fmt.Fprintf(c.out, "%s  %s  %s  %s\n", e.At.Local().Format(clock), e.Handler, oneLine(e.Message, wide), what)
	return err
}
