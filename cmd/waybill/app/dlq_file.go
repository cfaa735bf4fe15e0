package app

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"

	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

func (c *cli) dlqExportCommand() *cobra.Command {
	var which letterFlags
	var file string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write dead letters as CloudEvents, one a line",
		Long: "Writes the letters for which all that is given is true, whole, as CloudEvents 1.0 in JSON: data_base64 is the payload, and the\n" +
			"attributes dl… say what happened. `waybill dlq import` takes them in again, byte for byte.",
		Example: "  waybill dlq export --state DEAD > letters.ndjson\n  waybill dlq export --handler prepare --file prepare.ndjson",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			filter, err := which.condition()
			if err != nil {
				return err
			}
			q, err := query(filter)
			if err != nil {
				return err
			}
			return c.with(func(a *api) error {
				if file == "" {
					return a.export(cmd.Context(), q, c.out)
				}
				out, err := os.Create(file)
				if err != nil {
					return err
				}
				return errors.Join(a.export(cmd.Context(), q, out), out.Close())
			})
		},
	}
	which.add(cmd)
	cmd.Flags().StringVar(&file, "file", "", "write to this file; default: the standard output")
	return cmd
}

// export copies the events. A line that is an error says that they are not all.
func (a *api) export(ctx context.Context, q url.Values, w io.Writer) error {
	res, err := a.do(ctx, http.MethodGet, lettersPath+"/export?"+q.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	for line, err := range lines(bufio.NewReader(res.Body)) {
		if err != nil {
			return fmt.Errorf("read from waybill: %w", errors.Join(err, ctx.Err()))
		}
		if bytes.HasPrefix(line, []byte(`{"error":`)) {
			return fmt.Errorf("the export did not come to its end: %s", line)
		}
		if _, err := w.Write(append(bytes.TrimSuffix(line, []byte("\n")), '\n')); err != nil {
			return err
		}
	}
	return nil
}

func (c *cli) dlqImportCommand() *cobra.Command {
	var out format
	var why string
	cmd := &cobra.Command{
		Use:   "import [FILE|-]",
		Short: "Take in dead letters that were exported",
		Long: "Takes in CloudEvents, one a line, as `waybill dlq export` writes them. They are DEAD then, without notes. What is there\n" +
			"already stays as it is, so that a file can be imported again. Lines that are no dead letters are told: exit code 6.",
		Example: "  waybill dlq import letters.ndjson --why 'moved from staging'\n  waybill dlq export --server http://old:8080 | waybill dlq import -",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := out.check(); err != nil {
				return err
			}
			in := c.in
			if len(args) == 1 && args[0] != "-" {
				file, err := os.Open(args[0])
				if err != nil {
					return exit(exitUsage, err)
				}
				defer file.Close()
				in = file
			}
			return c.with(func(a *api) error { return c.importFrom(cmd.Context(), a, in, why, out) })
		},
	}
	out.add(cmd)
	cmd.Flags().StringVar(&why, "why", "", "for the audit log")
	return cmd
}

func (c *cli) importFrom(ctx context.Context, a *api, in io.Reader, why string, out format) error {
	res, err := a.stream(ctx, http.MethodPost, lettersPath+"/import?"+url.Values{"why": {why}}.Encode(),
		http.Header{"Content-Type": {"application/x-ndjson"}, "Waybill-Actor": {actor()}}, in)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	var done dashboard.Imported
	if err := json.UnmarshalRead(res.Body, &done); err != nil {
		return err
	}
	err = render(c.out, out, done, []dashboard.Imported{done}, func(w io.Writer) {
		fmt.Fprintf(w, "imported %d, %d were there already\n", done.Count, done.Known)
	})
	if err != nil || len(done.Refused) == 0 {
		return err
	}
	var errs []error
	for _, r := range done.Refused {
		errs = append(errs, fmt.Errorf("line %d: %s", r.Line, r.Error))
	}
	code := exitPartial
	if done.Count+done.Known == 0 {
		code = exitFailure
	}
	return exit(code, errors.Join(errs...))
}
