package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// How often a replay is looked at, and how often that is said where there is no
// terminal to draw on.
const (
	followEvery = 500 * time.Millisecond
	sayEvery    = 5 * time.Second
)

// follow shows the progress of a replay until it ends or pauses, and makes the
// exit code of what became of the letters.
func (c *cli) follow(ctx context.Context, a *api, run dashboard.Replay, out format) error {
	p := newProgress(c.err)
	look := time.NewTicker(followEvery)
	defer look.Stop()
	for run.State == store.ReplayRunning {
		p.show(run)
		select {
		case <-ctx.Done():
		case <-look.C:
		}
		err := ctx.Err()
		if err == nil {
			err = a.get(ctx, fmt.Sprintf("%s/%d", replaysPath, run.ID), &run)
		}
		if ctx.Err() != nil {
			p.end()
			c.leave(run.ID)
			return nil
		}
		if err != nil {
			p.end()
			return err
		}
	}
	p.last(run)
	if err := printReplay(c.out, out, run); err != nil {
		return err
	}
	return replayVerdict(run)
}

// leave says what can be done about a replay that goes on.
func (c *cli) leave(id int64) {
	fmt.Fprintf(c.err, "replay %d goes on: waybill dlq replay status %d --follow, or pause %d, or cancel %d\n", id, id, id, id)
}

// replayVerdict is the exit code of a replay.
func replayVerdict(run dashboard.Replay) error {
	err := func(code int, format string, args ...any) error { return exit(code, fmt.Errorf(format, args...)) }
	switch {
	case run.State == store.ReplayPaused && run.Problem != "":
		return err(exitPartial, "replay %d has paused: %s: waybill dlq replay resume %d, or cancel %d", run.ID, run.Problem, run.ID, run.ID)
	case run.State != store.ReplayDone && run.Pending > 0:
		return err(exitPartial, "replay %d is %s, %d letters were not sent", run.ID, run.State, run.Pending)
	case run.Dead > 0:
		return err(exitPartial, "%d letters died again: waybill dlq replay status %d shows them", run.Dead, run.ID)
	case run.Skipped > 0 && run.Completed == 0:
		return err(exitRefused, "all letters were skipped: waybill dlq replay status %d shows why", run.ID)
	case run.Skipped > 0:
		return err(exitPartial, "%d letters were skipped: waybill dlq replay status %d shows why", run.Skipped, run.ID)
	}
	return nil
}

// progress shows how far a replay is: as a bar on a terminal, else in a line
// now and then.
type progress struct {
	w     io.Writer
	bar   bool
	said  time.Time
	begun time.Time
	known int64 // outcomes when it began
}

func newProgress(w io.Writer) *progress {
	file, ok := w.(*os.File)
	return &progress{w: w, bar: ok && isatty.IsTerminal(file.Fd())}
}

const barWidth = 30

func (p *progress) show(run dashboard.Replay) {
	now := time.Now()
	if p.begun.IsZero() {
		p.begun, p.known = now, known(run)
	}
	switch {
	case p.bar:
		full := barWidth
		if run.Count > 0 {
			full = int(barWidth * known(run) / run.Count)
		}
		fmt.Fprintf(p.w, "\r\x1b[K[%s%s] %s", strings.Repeat("#", full), strings.Repeat(".", barWidth-full), p.text(run, now))
	case now.Sub(p.said) >= sayEvery:
		p.said = now
		fmt.Fprintln(p.w, p.text(run, now))
	}
}

// last shows where it ended.
func (p *progress) last(run dashboard.Replay) {
	p.said = time.Time{}
	p.show(run)
	p.end()
}

// end leaves the bar as it is.
func (p *progress) end() {
	if p.bar {
		fmt.Fprintln(p.w)
	}
}

func (p *progress) text(run dashboard.Replay, now time.Time) string {
	text := fmt.Sprintf("%d of %d, completed %d, dead again %d, skipped %d, under way %d",
		known(run), run.Count, run.Completed, run.Dead, run.Skipped, run.Sent)
	if took := now.Sub(p.begun).Seconds(); took >= 1 {
		text += fmt.Sprintf(", %.0f/s", float64(known(run)-p.known)/took)
	}
	return text
}

// known is how many letters have their outcome.
func known(run dashboard.Replay) int64 { return run.Completed + run.Dead + run.Skipped }

// printReplay writes a replay's counts.
func printReplay(w io.Writer, f format, run dashboard.Replay) error {
	return render(w, f, run, []dashboard.Replay{run}, func(w io.Writer) { replayTable(w, []dashboard.Replay{run}) })
}

func replayTable(w io.Writer, runs []dashboard.Replay) {
	fmt.Fprintln(w, "REPLAY\tSTATE\tLETTERS\tPENDING\tUNDER WAY\tCOMPLETED\tDEAD AGAIN\tSKIPPED\tBY\tSTARTED\tWHY")
	for _, r := range runs {
		fmt.Fprintf(w, "%d\t%s\t%d\t%d\t%d\t%d\t%d\t%d\t%s\t%s\t%s\n", r.ID, r.State, r.Count, r.Pending, r.Sent, r.Completed, r.Dead, r.Skipped,
			r.By, r.Started.Format(time.RFC3339), oneLine(r.Why, 40))
	}
}

// replayID reads an argument.
func replayID(text string) (int64, error) {
	id, err := letterID(text)
	if err != nil {
		err = exit(exitUsage, errors.New(text+" is not the id of a replay: waybill dlq replay status lists them"))
	}
	return id, err
}
