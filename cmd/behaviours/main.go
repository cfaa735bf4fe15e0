// Command behaviours says which rows of docs/behaviours.md a run of the tests
// has shown.
//
// A row is shown by a subtest whose name begins with the row's ID:
//
//	t.Run("0-D01 per_unit makes a job of each unit", …)
//
// It counts when that subtest, or one below it, ran to its end and passed, and
// none of that ID failed. A skipped test shows nothing.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
)

// Exit codes.
const (
	exitOK      = 0
	exitMissing = 1 // a row has no test, or a test failed
	exitUsage   = 2
)

const usage = `Usage: behaviours [-rows FILE] [-v] [FILE...]

Reads the output of "go test -json" from the files, or from the standard input,
and prints which rows of the checklist have a test that passed. Exits with 1 if
a row that counts now has none, or if anything failed.

A row counts now when its column Since has a version; "later" and "not ours" do
not count.

Flags:
`

const example = `
Example:
  go test -json ./... | go run ./cmd/behaviours
  go test -json ./... > test.json; go run ./cmd/behaviours -v test.json
`

func main() { os.Exit(run(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }

func run(args []string, in io.Reader, out, errOut io.Writer) int {
	flags := flag.NewFlagSet("behaviours", flag.ContinueOnError)
	flags.SetOutput(errOut)
	rowsFile := flags.String("rows", "docs/behaviours.md", "the checklist")
	verbose := flags.Bool("v", false, "list the tests of each row")
	flags.Usage = func() {
		_, _ = io.WriteString(errOut, usage)
		flags.PrintDefaults()
		_, _ = io.WriteString(errOut, example)
	}
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return exitOK
	case err != nil:
		return exitUsage
	}
	sections, results, err := read(*rowsFile, flags.Args(), in)
	if err != nil {
		fmt.Fprintf(errOut, "behaviours: %v\n", err)
		return exitUsage
	}
	r := newReport(sections, results)
	if err := r.write(out, *verbose); err != nil {
		fmt.Fprintf(errOut, "behaviours: write the report: %v\n", err)
		return exitMissing
	}
	if !r.ok() {
		return exitMissing
	}
	return exitOK
}

// read reads the checklist, and the results of the files, or of in where there
// are none.
func read(rowsFile string, files []string, in io.Reader) ([]section, *results, error) {
	text, err := os.ReadFile(rowsFile)
	if err != nil {
		return nil, nil, fmt.Errorf("read the checklist: %w: name it with -rows", err)
	}
	sections, err := parseRows(string(text))
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", rowsFile, err)
	}
	all := newResults()
	if len(files) == 0 {
		if err := all.read(in); err != nil {
			return nil, nil, fmt.Errorf("read the standard input: %w", err)
		}
	}
	for _, name := range files {
		if err := all.readFile(name); err != nil {
			return nil, nil, fmt.Errorf("read %s: %w", name, err)
		}
	}
	if all.empty() {
		return nil, nil, errors.New("no result of any test: feed it what \"go test -json ./...\" prints")
	}
	return sections, all, nil
}
