package dashboard

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/go-json-experiment/json"
	"github.com/google/uuid"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/store"
)

const (
	ndjson = "application/x-ndjson"
	// fileChunk is how many letters an export reads, or an import writes, at a
	// time; fewer where they have more than store.PageBytes together.
	fileChunk = 100
	// maxEvent is the longest line of an import, in bytes.
	maxEvent = 128 << 20
	// lineTimeout is how long a line of an import may take to arrive.
	lineTimeout = time.Minute
)

func (l letters) registerFiles(api huma.API, opts Options) {
	huma.Register(api, huma.Operation{
		OperationID: "export-dead-letters", Method: http.MethodGet, Path: lettersPath + "/export", Summary: "Dead letters as CloudEvents, oldest first",
		Description: "One CloudEvents 1.0 event a line. data_base64 is the payload, byte for byte; the attributes dl… say what happened. " +
			"A last line {\"error\": …} says that the export did not come to its end.",
		Errors: storeErrors,
	}, func(ctx context.Context, in *exportInput) (*huma.StreamResponse, error) {
		filter, err := in.Filter()
		if err != nil {
			return nil, apiError(err)
		}
		page, err := l.page(ctx, filter, "")
		if err != nil {
			return nil, apiError(err)
		}
		return &huma.StreamResponse{Body: func(ctx huma.Context) {
			ctx.SetHeader("Content-Type", ndjson)
			if err := l.export(ctx.Context(), ctx.BodyWriter(), filter, page); err != nil {
				opts.Log.Warn("export ended", "error", err)
			}
		}}, nil
	})
	huma.Register(api, huma.Operation{
		OperationID: "import-dead-letters", Method: http.MethodPost, Path: lettersPath + "/import", Summary: "Take in dead letters as CloudEvents",
		Description: "One event a line, as export writes them. They are DEAD then, whatever they were. What is there already stays as it is, " +
			"so that a file can be imported again. Lines that are no dead letters are told and left out.",
		RequestBody: &huma.RequestBody{Required: true, Content: map[string]*huma.MediaType{ndjson: {}}},
		Errors:      storeErrors,
	}, answering(l.importAll))
}

type exportInput struct{ LetterCondition }

// page reads the oldest first: imported in that order, letters of a key keep
// theirs where the broker has no offsets.
func (l letters) page(ctx context.Context, filter store.Filter, cursor string) (store.LetterPage, error) {
	return l.store.Letters(ctx, store.LetterQuery{Filter: filter, Limit: fileChunk, Cursor: cursor, Oldest: true})
}

// export writes the page and all that follow it.
func (l letters) export(ctx context.Context, w io.Writer, filter store.Filter, page store.LetterPage) error {
	for {
		for _, letter := range page.Letters {
			event, err := newLetterEvent(letter)
			if err == nil {
				err = json.MarshalWrite(w, event)
			}
			if err != nil {
				return cutShort(w, err)
			}
			if _, err := w.Write([]byte("\n")); err != nil {
				return err // nobody reads any more
			}
		}
		if page.Next == "" {
			return nil
		}
		var err error
		if page, err = l.page(ctx, filter, page.Next); err != nil {
			return cutShort(w, err)
		}
	}
}

// cutShort tells the reader that what it has is not all.
func cutShort(w io.Writer, err error) error {
	line, _ := json.Marshal(struct { // of text: it cannot fail
		Error string `json:"error"`
	}{readable(err.Error())})
	_, gone := w.Write(append(line, '\n'))
	return errors.Join(err, gone)
}

type importInput struct {
	Act
	Why  string `query:"why" doc:"for the audit log"`
	body io.Reader
	wait func() error // gives the next line of the body its time
}

// Resolve takes the body, which may be longer than memory has room for.
func (in *importInput) Resolve(ctx huma.Context) []error {
	in.body = ctx.BodyReader()
	in.wait = func() error { return ctx.SetReadDeadline(time.Now().Add(lineTimeout)) }
	return nil
}

// Imported is what became of a file of letters.
type Imported struct {
	Count   int       `json:"count" doc:"letters that are new"`
	Known   int       `json:"known" doc:"letters that were there already"`
	Refused []Refused `json:"refused,omitempty" doc:"lines that are no dead letters, at most 100 of them"`
}

// Refused is a line that was left out.
type Refused struct {
	Line  int    `json:"line"`
	Error string `json:"error"`
}

// maxRefused bounds how many lines are told.
const maxRefused = 100

type importedOutput struct{ Body Imported }

func (l letters) importAll(ctx context.Context, in *importInput) (*importedOutput, error) {
	out := &importedOutput{}
	entry := store.AuditEntry{Operation: uuid.Must(uuid.NewV7()).String(), Actor: in.Actor, Action: "import", Why: in.Why}
	lines := bufio.NewScanner(in.body)
	lines.Buffer(make([]byte, 64<<10), maxEvent)
	var chunk []store.DeadLetter
	size := 0 // of its payloads
	flush := func() error {
		fresh, err := l.importSome(ctx, entry, chunk)
		out.Body.Count += fresh
		out.Body.Known += len(chunk) - fresh
		chunk, size = chunk[:0], 0
		return err
	}
	for n := 1; ; n++ {
		_ = in.wait() // a connection that knows no deadlines has its own bounds
		if !lines.Scan() {
			break
		}
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		letter, err := parseEvent(lines.Bytes())
		if err != nil {
			if len(out.Body.Refused) < maxRefused {
				out.Body.Refused = append(out.Body.Refused, Refused{n, err.Error()})
			}
			continue
		}
		chunk, size = append(chunk, letter), size+len(letter.Payload)
		if len(chunk) == fileChunk || size > store.PageBytes {
			if err := flush(); err != nil {
				return nil, err
			}
		}
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read the body: %w: %w", store.ErrInvalid, err)
	}
	return out, flush()
}

func parseEvent(line []byte) (store.DeadLetter, error) {
	event := LetterEvent{Offset: -1}
	if err := json.Unmarshal(line, &event); err != nil {
		return store.DeadLetter{}, err
	}
	return event.letter()
}

// importSome buries letters that are not there, in one transaction, and
// returns how many.
func (l letters) importSome(ctx context.Context, entry store.AuditEntry, chunk []store.DeadLetter) (int, error) {
	return l.store.ImportLetters(ctx, chunk, func(fresh int) []pipeline.Write {
		entry.Count = fresh
		return []pipeline.Write{l.store.Record(entry)}
	})
}
