package app

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
	"github.com/waybill-dev/waybill/pipeline/pointer"
	"github.com/waybill-dev/waybill/pipeline/store"
)

// editCommand changes the content of one letter.
type editCommand struct {
	*cli
	file    string
	values  []string // /pointer=text or /pointer:=JSON
	headers []string // name=value
	drop    []string
	why     string
	yes     bool
}

func (c *cli) dlqEditCommand() *cobra.Command {
	e := &editCommand{cli: c}
	cmd := &cobra.Command{
		Use:   "edit ID",
		Short: "Repair a dead letter",
		Long: "Changes payload or headers of a letter that is DEAD, shows the difference and asks. The original is kept. Without a flag that\n" +
			"says what to change, the payload is opened in $VISUAL or $EDITOR.\n\n" +
			"--value changes the value at a JSON Pointer and no other byte: after = of a string the text, else the value as JSON; after := always JSON.\n" +
			"Who was not the last to see the letter changes nothing: exit code 5, and the letter as it is now.",
		Example: "  waybill dlq edit 17\n  waybill dlq edit 17 --value /address/zip=10115 --why 'customer called'\n" +
			"  waybill dlq edit 17 --value '/order_lines/0/quantity:=2'\n" +
			"  waybill dlq edit 17 --file order.json --header tenant=north --yes",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id, err := letterID(args[0])
			if err != nil {
				return err
			}
			return e.with(func(a *api) error { return e.run(cmd.Context(), a, id) })
		},
	}
	cmd.Flags().StringVar(&e.file, "file", "", "take the payload from a file; - is the standard input")
	cmd.Flags().StringArrayVar(&e.values, "value", nil, "change a value of the payload: /pointer=text or /pointer:=JSON")
	cmd.Flags().StringArrayVar(&e.headers, "header", nil, "set a header: name=value")
	cmd.Flags().StringArrayVar(&e.drop, "drop-header", nil, "remove a header")
	cmd.Flags().StringVar(&e.why, "why", "", "for the audit log")
	cmd.Flags().BoolVarP(&e.yes, "yes", "y", false, "do not ask")
	return cmd
}

func (e *editCommand) run(ctx context.Context, a *api, id int64) error {
	path := fmt.Sprintf("%s/%d", lettersPath, id)
	var l dashboard.Letter
	if err := a.get(ctx, path, &l); err != nil {
		return err
	}
	if l.State != store.Dead {
		return exit(exitRefused, fmt.Errorf("dead letter %d is %s: only one that is DEAD can be changed", id, l.State))
	}
	before := l.Content.Content()
	after, err := e.edited(ctx, before)
	if err != nil {
		return err
	}
	diff := difference(before, after)
	if diff == "" {
		fmt.Fprintln(e.err, "nothing was changed")
		return nil
	}
	fmt.Fprint(e.err, diff)
	if err := e.agree(ctx, fmt.Sprintf("change dead letter %d?", id), e.yes); err != nil {
		return err
	}
	request := struct {
		Version int64  `json:"version"`
		Why     string `json:"why,omitzero"`
		dashboard.Content
	}{l.Version, e.why, dashboard.NewContent(after)}
	var changed struct {
		Version int64 `json:"version"`
	}
	err = a.send(ctx, http.MethodPut, path+"/content", request, &changed)
	var coded *exitError
	if errors.As(err, &coded) && coded.code == exitRefused {
		e.showNewer(ctx, a, path, after)
	}
	if err != nil {
		return err
	}
	fmt.Fprintf(e.cli.out, "changed %d, version %d\n", id, changed.Version)
	return nil
}

// showNewer shows, after a lost race, what this edit would change now.
func (e *editCommand) showNewer(ctx context.Context, a *api, path string, mine store.Content) {
	var now dashboard.Letter
	if a.get(ctx, path, &now) != nil {
		return // the race's own error says what to do
	}
	fmt.Fprintf(e.err, "it is %s now, in version %d; from it (-) to yours (+):\n%s", now.State, now.Version, difference(now.Content.Content(), mine))
}

// edited is the content as the flags, or the user, want it.
func (e *editCommand) edited(ctx context.Context, c store.Content) (store.Content, error) {
	var err error
	c.Headers = maps.Clone(c.Headers)
	switch {
	case e.file == "-":
		c.Payload, err = io.ReadAll(e.in)
	case e.file != "":
		c.Payload, err = os.ReadFile(e.file)
	case len(e.values)+len(e.headers)+len(e.drop) == 0:
		c.Payload, err = e.byHand(ctx, c.Payload)
	}
	if err != nil {
		return c, fmt.Errorf("read the new payload: %w", err)
	}
	for _, value := range e.values {
		if c.Payload, err = replaced(c.Payload, value); err != nil {
			return c, exit(exitUsage, fmt.Errorf("--value %s: %w", value, err))
		}
	}
	for _, name := range e.drop {
		delete(c.Headers, name)
	}
	for _, header := range e.headers {
		name, value, ok := strings.Cut(header, "=")
		if !ok {
			return c, exit(exitUsage, fmt.Errorf("--header %q: want name=value", header))
		}
		c.Headers[name] = value
	}
	return c, nil
}

// replaced puts a value, written /pointer=text or /pointer:=JSON, in the place
// of the one there and leaves every other byte.
func replaced(payload []byte, value string) ([]byte, error) {
	path, text, ok := strings.Cut(value, "=")
	if !ok {
		return nil, errors.New("want /pointer=text or /pointer:=JSON")
	}
	path, asJSON := strings.CutSuffix(path, ":")
	span, ok, err := pointer.Find(payload, path)
	switch {
	case err != nil:
		return nil, err
	case !ok:
		return nil, errors.New("the payload has no such value: add it with the editor")
	}
	put := []byte(text)
	switch {
	case !asJSON && span.Of(payload)[0] == '"':
		if put, err = json.Marshal(text); err != nil {
			return nil, err
		}
	case !jsontext.Value(put).IsValid():
		return nil, fmt.Errorf("%q is not JSON: a text needs its quotes there", text)
	}
	return slices.Concat(payload[:span.Start], put, payload[span.End:]), nil
}

// byHand opens the payload in the user's editor.
func (e *editCommand) byHand(ctx context.Context, payload []byte) ([]byte, error) {
	editor := os.Getenv("VISUAL")
	if editor == "" {
		editor = os.Getenv("EDITOR")
	}
	switch {
	case editor == "":
		return nil, exit(exitUsage, errors.New("no editor: set $EDITOR, or say what to change with --value, --header or --file"))
	case !utf8.Valid(payload):
		return nil, exit(exitUsage, errors.New("the payload is no text: change it with --file"))
	}
	file, err := os.CreateTemp("", "waybill-*.json")
	if err != nil {
		return nil, err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(payload)
	if err = errors.Join(err, file.Close()); err != nil {
		return nil, err
	}
	args := append(strings.Fields(editor), file.Name())
	cmd := exec.CommandContext(ctx, args[0], args[1:]...) //nolint:gosec // the user's own editor
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("run %s: %w", args[0], err)
	}
	text, err := os.ReadFile(file.Name())
	if err == nil && !bytes.HasSuffix(payload, []byte("\n")) {
		text = bytes.TrimSuffix(text, []byte("\n")) // editors end the last line
	}
	return text, err
}

// difference is what an edit changes, "" for nothing: the lines between the
// first and the last that differ.
func difference(before, after store.Content) string {
	var b strings.Builder
	names := slices.Sorted(maps.Keys(before.Headers))
	for name := range after.Headers {
		if _, ok := before.Headers[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range names {
		was, had := before.Headers[name]
		is, has := after.Headers[name]
		if had && (!has || is != was) {
			fmt.Fprintf(&b, "- header %+q: %+q\n", name, was)
		}
		if has && (!had || is != was) {
			fmt.Fprintf(&b, "+ header %+q: %+q\n", name, is)
		}
	}
	if bytes.Equal(before.Payload, after.Payload) {
		return b.String()
	}
	was, is := strings.Split(string(before.Payload), "\n"), strings.Split(string(after.Payload), "\n")
	for len(was) > 0 && len(is) > 0 && was[0] == is[0] {
		was, is = was[1:], is[1:]
	}
	for len(was) > 0 && len(is) > 0 && was[len(was)-1] == is[len(is)-1] {
		was, is = was[:len(was)-1], is[:len(is)-1]
	}
	for _, line := range was {
		fmt.Fprintf(&b, "- %s\n", line)
	}
	for _, line := range is {
		fmt.Fprintf(&b, "+ %s\n", line)
	}
	return b.String()
}
