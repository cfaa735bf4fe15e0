package app

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/routerconfig"
)

func (c *cli) lintCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lint [FILE...]",
		Short: "Check config files",
		Long: "Prints everything that is wrong or doubtful, each with file, line, column and what to do.\n" +
			"Exits with 1 if something is wrong; warnings alone leave it at 0.",
		Example: "  waybill lint waybill.yaml\n  waybill lint deploy/sample/*.yaml",
	}
	c.configFlags(cmd)
	cmd.RunE = func(_ *cobra.Command, files []string) error {
		if len(files) == 0 {
			files = []string{c.config}
		}
		bad := 0
		for _, file := range files {
			ok, err := c.lint(file)
			if err != nil {
				return exit(exitFailure, err)
			}
			if !ok {
				bad++
			}
		}
		if bad > 0 {
			return exit(exitFailure, fmt.Errorf("%d of %d files cannot be used", bad, len(files)))
		}
		return nil
	}
	return cmd
}

// lint prints the findings of one file and reports whether it can be used.
func (c *cli) lint(file string) (bool, error) {
	loaded, err := routerconfig.Load(file, routerconfig.Options{Kinds: c.opts.Kinds, Set: c.set})
	var found routerconfig.Findings
	switch {
	case err == nil:
		found = loaded.Warnings
	case !errors.As(err, &found):
		return false, err
	}
	for _, f := range found {
		if _, err := fmt.Fprintln(c.out, f.String()); err != nil {
			return false, err
		}
	}
	if err != nil {
		return false, nil
	}
	_, err = fmt.Fprintf(c.out, "%s: ok, %d handlers, %d warnings\n", file, len(loaded.Pipeline.Handlers), len(found))
	return true, err
}

func (c *cli) echoCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "echo",
		Short:   "Print the effective config",
		Long:    "Prints the config as it takes effect: every default filled in, variables expanded, secrets hidden.",
		Example: "  waybill echo --config waybill.yaml\n  waybill echo --set brokers.main.driver=kafka",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			loaded, err := c.load()
			if err != nil {
				return err
			}
			_, err = c.out.Write(loaded.Echo())
			return err
		},
	}
	c.configFlags(cmd)
	return cmd
}

func (c *cli) schemaCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "schema",
		Short:   "Print the config's JSON Schema",
		Long:    "Prints the JSON Schema (draft 2020-12) of a config file, for editors that complete and check as you type.",
		Example: "  waybill schema > waybill.schema.json",
		Args:    cobra.NoArgs,
	}
	reference := cmd.Flags().Bool("reference", false, "print the reference in Markdown instead")
	cmd.RunE = func(*cobra.Command, []string) error {
		text := routerconfig.Schema
		if *reference {
			text = routerconfig.Reference
		}
		_, err := c.out.Write(text(c.opts.Kinds))
		return err
	}
	return cmd
}
