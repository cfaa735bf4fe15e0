package stages

import (
	"bytes"
	"regexp"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// input is what a message says: of an order either its jobs, or that a stage
// of one of them is done.
type input struct {
	order string
	jobs  []job // nil: it is an event
	event event
}

// event says that a stage is done.
type event struct {
	job, stage string
	at         time.Time
}

// read returns what the payload says, or nil if that is nothing to track. The
// error is permanent.
func (c *Config) read(payload []byte) (*input, error) {
	doc := bytes.Trim(payload, " \t\r\n")
	if !utf8.Valid(doc) || !jsontext.Value(doc).IsValid(jsontext.AllowInvalidUTF8(true)) || doc[0] != '{' { // escapes of half a character are legal
		return nil, pipeline.Invalid("the message is not a JSON object in UTF-8")
	}
	lines, _, err := pointer.Lookup(doc, "/order_lines")
	if err != nil { // nested deeper than a pointer goes
		return nil, pipeline.Invalid("read order_lines: %w", err)
	}
	if len(lines) > 0 && string(lines) != "null" {
		return c.readOrder(doc, lines)
	}
	job, stage := first(doc, c.Event.JobID), first(doc, c.Event.Stage)
	switch {
	case job != "" && stage != "":
		return c.readEvent(doc, event{job: job, stage: stage})
	case job != "":
		return nil, pipeline.Invalid("the event for job %q names no stage, a text at any of %q: name its path under event.stage", job, c.Event.Stage)
	case stage != "":
		return nil, pipeline.Invalid("the event for stage %q names no job, a text at any of %q: name its path under event.job_id", stage, c.Event.JobID)
	case c.WithoutLines == Pass:
		return nil, nil
	}
	return nil, pipeline.Invalid("the message is no prepared order, as it has no order_lines, and no stage event, as it has no job at any of %q; see without_lines", c.Event.JobID)
}

func (c *Config) readOrder(doc, lines []byte) (*input, error) {
	in := &input{order: first(doc, c.OrderID)}
	if in.order == "" {
		return nil, pipeline.Invalid("the order has no id, a text or a number, at any of %q: name its path under order_id", c.OrderID)
	}
	cursor := pointer.Open(lines, 0)
	if !cursor.IsArray() {
		return nil, pipeline.Invalid("order %q: order_lines is no array", in.order)
	}
	known := make(map[string]bool)
	for cursor.Next() {
		j, err := readJob(cursor.Value().Of(lines))
		if err != nil {
			return nil, pipeline.Invalid("order %q, line %d: %w", in.order, len(in.jobs)+1, err)
		}
		if known[j.ID] {
			return nil, pipeline.Invalid("order %q: job %q is there twice", in.order, j.ID)
		}
		known[j.ID] = true
		in.jobs = append(in.jobs, j)
	}
	if err := cursor.Err(); err != nil {
		return nil, pipeline.Invalid("order %q: %w", in.order, err)
	}
	if len(in.jobs) > 0 {
		return in, nil
	}
	if c.WithoutLines == Pass {
		return nil, nil
	}
	return nil, pipeline.Invalid("order %q has no lines; see without_lines", in.order)
}

// ofPrepare is a job's id as prepare_order makes it.
var ofPrepare = regexp.MustCompile(`^(.+)-\d+-\d+$`)

func (c *Config) readEvent(doc []byte, e event) (*input, error) {
	for _, path := range c.Event.Time {
		at, err := time.Parse(time.RFC3339Nano, first(doc, []string{path}))
		if err == nil {
			e.at = at.UTC()
			break
		}
	}
	in := &input{order: first(doc, c.Event.OrderID), event: e}
	if in.order == "" {
		parts := ofPrepare.FindStringSubmatch(e.job)
		if parts == nil {
			return nil, pipeline.Invalid("the event for job %q has no order id at any of %q, and the job's id is none that prepare_order made: name its path under event.order_id", e.job, c.Event.OrderID)
		}
		in.order = parts[1]
	}
	return in, nil
}

// first returns the first text or number at one of the paths, "" if there is
// none. Blank text is none.
func first(doc []byte, paths []string) string {
	for _, path := range paths {
		value, found, err := pointer.Lookup(doc, path)
		if err != nil || !found {
			continue
		}
		if text := textOf(value); text != "" {
			return text
		}
	}
	return ""
}

// textOf returns a text or a number as text, "" of everything else.
func textOf(value []byte) string {
	if len(value) == 0 || value[0] == 't' || value[0] == 'f' {
		return ""
	}
	text, ok := pointer.Text(value)
	if !ok || strings.TrimSpace(text) == "" {
		return ""
	}
	return text
}
