package app

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

const (
	clock  = "15:04:05.000"
	narrow = 60   // characters of what stands in a column
	wide   = 1000 // of what stands by itself
)

// logPrinter writes entries of the message log: a table, a list as JSON, or a
// line of JSON each.
type logPrinter struct {
	out    io.Writer
	form   string
	table  *tabwriter.Writer
	list   []dashboard.LogEntry
	header bool
}

func newLogPrinter(out io.Writer, form string) *logPrinter {
	return &logPrinter{out: out, form: form, table: tabwriter.NewWriter(out, 0, 0, 2, ' ', 0), list: []dashboard.LogEntry{}}
}

// entry writes what fits into a row.
func (p *logPrinter) entry(e dashboard.LogEntry) error {
	if p.form != "table" {
		return p.json(e)
	}
	if !p.header {
		p.header = true
		fmt.Fprintln(p.table, "CHANGED\tSTATE\tHANDLER\tMESSAGE\tKEY\tBYTES\tREASON\tERROR")
	}
	_, err := fmt.Fprintf(p.table, "%s\t%s\t%s\t%s\t%s\t%d\t%s\t%s\n", e.At.Local().Format(time.DateTime), e.State, e.Handler,
		oneLine(e.Message, narrow), oneLine(e.Key, narrow), e.Size, e.Reason, oneLine(e.Error, narrow))
	return err
}

// whole writes all there is of an entry.
func (p *logPrinter) whole(e dashboard.LogEntry) error {
	if p.form != "table" {
		return p.json(e)
	}
	w := p.out
	fmt.Fprintf(w, "%s  %s  %s  %s\n", e.At.Local().Format(time.DateTime), e.State, e.Handler, oneLine(e.Message, wide))
	fmt.Fprintf(w, "  from %s, partition %d, offset %d, key %q, %d bytes, correlation %s\n",
		e.Topic, e.Partition, e.Offset, e.Key, e.Size, oneLine(e.Correlation, wide))
	if e.Causation != "" {
		fmt.Fprintf(w, "  caused by %s\n", oneLine(e.Causation, wide))
	}
	for i, a := range e.Attempts {
		fmt.Fprintf(w, "  attempt %d  %s  %.3f ms  %s  %s\n", i+1, a.At.Local().Format(clock), a.DurationMS, a.Worker, ending(a))
		for _, line := range a.Lines {
			fmt.Fprintf(w, "    %s  %s\n", line.At.Local().Format(clock), lineText(line))
		}
		if a.Cut > 0 {
			fmt.Fprintf(w, "    … %d more lines were not kept\n", a.Cut)
		}
	}
	if len(e.Outputs) > 0 {
		fmt.Fprintf(w, "  published %s\n", strings.Join(e.Outputs, ", "))
	}
	if e.Payload != nil {
		fmt.Fprintf(w, "  payload %s\n", oneLine(*e.Payload, wide))
	}
	return nil
}

func ending(a dashboard.LogAttempt) string {
	if a.Error == "" {
		return ""
	}
	return string(a.Reason) + ": " + oneLine(a.Error, wide)
}

func (p *logPrinter) json(e dashboard.LogEntry) error {
	if p.form == "json" {
		p.list = append(p.list, e)
		return nil
	}
	line, err := json.Marshal(e, json.Deterministic(true))
	if err != nil {
		return err
	}
	_, err = p.out.Write(append(line, '\n'))
	return err
}

// end writes what is left.
func (p *logPrinter) end() error {
	if p.form != "json" {
		return p.table.Flush()
	}
	if err := json.MarshalWrite(p.out, p.list, json.Deterministic(true), jsontext.WithIndent("  ")); err != nil {
		return err
	}
	_, err := fmt.Fprintln(p.out)
	return err
}

// lineText is a logged line as people read it.
func lineText(line dashboard.LogLine) string {
	text := fmt.Sprintf("%-5s %s", line.Level, oneLine(line.Text, wide))
	names := make([]string, 0, len(line.Attrs))
	for name := range line.Attrs {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		text += fmt.Sprintf(" %s=%q", name, line.Attrs[name])
	}
	return text
}

// oneLine shows text that came from outside on a terminal: no control
// characters, and not more than so many.
func oneLine(text string, most int) string {
	runes := []rune(text)
	if len(runes) > most {
		runes = append(runes[:most-1], '…')
	}
	for i, r := range runes {
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' {
			runes[i] = ' '
		}
	}
	return string(runes)
}
