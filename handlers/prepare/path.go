package prepare

import (
	"strings"

	"github.com/waybill-dev/waybill/pipeline/pointer"
)

// paths are where a value may be; the first that is there counts.
type paths []path

type path struct {
	text string // a JSON Pointer
	name string // the member that it names, if that is all and without escapes
}

func newPaths(texts []string) paths {
	list := make(paths, len(texts))
	for i, text := range texts {
		list[i].text = text
		if name := text[1:]; !strings.ContainsAny(name, "/~") {
			list[i].name = name
		}
	}
	return list
}

// firstToken returns the name of the member that a path leads into.
func firstToken(path string) string {
	token, _, _ := strings.Cut(path[1:], "/")
	return strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
}

// choice is the value of the best of some paths so far.
type choice struct {
	rank  int // of its path, from 1; 0: there is none
	value pointer.Span
}

// offer takes a member that is met on a walk over the object.
func (p paths) offer(best *choice, name []byte, c *pointer.Cursor) {
	for i := range p {
		if best.rank > 0 && i+1 >= best.rank {
			return
		}
		if string(name) == p[i].name && p[i].name != "" {
			*best = choice{rank: i + 1, value: c.Value()}
		}
	}
}

// finish looks for the paths that are not plain names, in the object that
// starts at offset at of doc.
func (p paths) finish(best *choice, doc []byte, at int) error {
	for i := range p {
		if best.rank > 0 && i+1 >= best.rank {
			return nil
		}
		if p[i].name != "" {
			continue
		}
		span, ok, err := pointer.Find(doc[at:], p[i].text)
		if err != nil {
			return err
		}
		if ok {
			*best = choice{rank: i + 1, value: pointer.Span{Start: at + span.Start, End: at + span.End}}
		}
	}
	return nil
}
