package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/routerconfig"
)

// Exit codes (design §7).
const (
	exitOK          = 0
	exitFailure     = 1
	exitUsage       = 2
	exitUnreachable = 3
	exitNotFound    = 4
	exitRefused     = 5
	exitPartial     = 6
)

// exitError is an error with the code that the process ends with.
type exitError struct {
	code int
	err  error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

func exit(code int, err error) error {
	if err == nil {
		return nil
	}
	return &exitError{code, err}
}

// gcPercent is GOGC unless the environment has one. What lives is little, a few
// MB beside the payloads in hand, so that collections would come twenty times a
// second: fewer save up to a tenth of the CPU and cost 20 MB. Where memory is
// tight GOMEMLIMIT makes them more.
const gcPercent = 300

// Main is a whole Waybill program: it runs the command line of this process
// and returns the code to exit with.
func Main(opts Options) int {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	var i interrupts
	ctx, hurry, stop := i.watch()
	defer stop()
	return execute(ctx, hurry, &i, opts, os.Args[1:], os.Stdin, os.Stdout, os.Stderr)
}

// cli is what all subcommands share.
type cli struct {
	opts   Options
	in     io.Reader
	out    io.Writer
	err    io.Writer
	config string
	set    []string
	server string
	token  string
	level  string
	format string
	hurry  context.Context // ends at the second signal

	interrupts *interrupts
}

// execute runs one command line. ctx ends at the first signal, hurry at the
// second.
func execute(ctx, hurry context.Context, i *interrupts, opts Options, args []string, in io.Reader, out, errOut io.Writer) int {
	c := &cli{opts: opts, in: in, out: out, err: errOut, hurry: hurry, interrupts: i}
	root := c.root()
	root.SetArgs(args)
	root.SetIn(in)
	root.SetOut(out)
	root.SetErr(errOut)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitOK
	}
	var coded *exitError
	if errors.As(err, &coded) {
		fmt.Fprintln(errOut, prefixed(coded.err))
		return coded.code
	}
	fmt.Fprintf(errOut, "waybill: %v\nTry: waybill --help\n", err) // cobra's own: flags and arguments
	return exitUsage
}

// prefixed puts the program's name before an error, but findings of a config
// stand by themselves, as editors and CI read them.
func prefixed(err error) string {
	var findings routerconfig.Findings
	if errors.As(err, &findings) {
		return strings.TrimRight(err.Error(), "\n")
	}
	return "waybill: " + err.Error()
}

func (c *cli) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "waybill",
		Short: "An order and event processor over a log broker",
		Long: "Waybill wires handlers between topics of a log broker: RabbitMQ, Kafka, or the one built in.\n" +
			"One YAML file says which; what fails goes to dead letters.",
		Example:       "  waybill run --config waybill.yaml\n  waybill lint waybill.yaml\n  echo '{\"orderId\":\"1\"}' | waybill publish orders-in --config waybill.yaml -",
		SilenceErrors: true, SilenceUsage: true,
	}
	flags := root.PersistentFlags()
	flags.StringVar(&c.level, "log-level", defaultLevel, "least level to log: debug, info, warn or error")
	flags.StringVar(&c.format, "log-format", "text", "text or json")
	for _, cmd := range []*cobra.Command{
		c.runCommand(), c.lintCommand(), c.echoCommand(), c.graphCommand(), c.schemaCommand(),
		c.doctorCommand(), c.publishCommand(), c.tailCommand(), c.dlqCommand(), c.logCommand(), c.benchCommand(), c.versionCommand(),
	} {
		root.AddCommand(failing(cmd))
	}
	return root
}

const defaultLevel = "info"

// failing gives an error of a command that has no code of its own that of a
// failure; cobra's, of flags and arguments, are of usage.
func failing(cmd *cobra.Command) *cobra.Command {
	for _, sub := range cmd.Commands() {
		failing(sub)
	}
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		err := run(cmd, args)
		var coded *exitError
		if err != nil && !errors.As(err, &coded) {
			err = exit(exitFailure, err)
		}
		return err
	}
	return cmd
}

// configFlags adds the flags of a command that reads a config file.
func (c *cli) configFlags(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&c.config, "config", "c", defaultConfig, "config file")
	cmd.Flags().StringArrayVar(&c.set, "set", nil, "change a value of the config: path=value, for example handlers.prepare.concurrency=8")
}

// defaultConfig is looked for where no --config is given.
const defaultConfig = "waybill.yaml"

// load reads the config, prints its warnings, and fails with all its faults.
func (c *cli) load() (*routerconfig.Loaded, error) {
	loaded, err := routerconfig.Load(c.config, routerconfig.Options{Kinds: c.opts.Kinds, Set: c.set})
	if err != nil {
		return nil, exit(exitFailure, err)
	}
	return loaded, nil
}

// logger makes the log that goes to stderr.
func (c *cli) logger() (*slog.Logger, error) {
	if c.opts.Log != nil {
		return c.opts.Log, nil
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(c.level)); err != nil {
		return nil, exit(exitUsage, fmt.Errorf("--log-level %q: want debug, info, warn or error", c.level))
	}
	options := &slog.HandlerOptions{Level: level}
	switch c.format {
	case "text":
		return slog.New(identified{slog.NewTextHandler(c.err, options)}), nil
	case "json":
		return slog.New(identified{slog.NewJSONHandler(c.err, options)}), nil
	}
	return nil, exit(exitUsage, fmt.Errorf("--log-format %q: want text or json", c.format))
}

// quiet is the log of a command whose output is something else: it says what
// went wrong, unless more is asked for.
func (c *cli) quiet() (*slog.Logger, error) {
	if c.level == defaultLevel {
		c.level = "error"
	}
	return c.logger()
}

// identified adds to each record the message that it is about, if the context
// has one.
type identified struct{ slog.Handler }

func (h identified) Handle(ctx context.Context, r slog.Record) error {
	if id, ok := pipeline.IdentityOf(ctx); ok {
		r.AddAttrs(slog.String("msg_id", id.Message))
		if id.Correlation != id.Message {
			r.AddAttrs(slog.String("correlation_id", id.Correlation))
		}
	}
	return h.Handler.Handle(ctx, r)
}

func (h identified) WithAttrs(attrs []slog.Attr) slog.Handler {
	return identified{h.Handler.WithAttrs(attrs)}
}

func (h identified) WithGroup(name string) slog.Handler { return identified{h.Handler.WithGroup(name)} }
