package app

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

func (c *cli) doctorCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Look at the brokers: what waits, who reads, what is wrong",
		Long: "Says for each broker whether it can be reached and as whom, and for each subscription how many messages wait,\n" +
			"how many are in hand, who consumes and where its messages come from. Exits with 1 if something is wrong,\n" +
			"with 3 if a broker cannot be reached.",
		Example: "  waybill doctor --config waybill.yaml\n  waybill doctor --server http://127.0.0.1:8080 --output json",
		Args:    cobra.NoArgs,
	}
	c.serverFlags(cmd)
	output := cmd.Flags().StringP("output", "o", "table", "table or json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		reports, err := c.examine(cmd.Context())
		if err != nil {
			return err
		}
		switch *output {
		case "table":
			err = c.table(reports)
		case "json":
			err = json.MarshalWrite(c.out, reports, jsontext.WithIndent("  "))
		default:
			return exit(exitUsage, fmt.Errorf("--output %q: want table or json", *output))
		}
		if err != nil {
			return err
		}
		return diagnosis(reports)
	}
	return cmd
}

func (c *cli) examine(ctx context.Context) ([]dashboard.Report, error) {
	a, err := c.reach("")
	if err != nil {
		return nil, err
	}
	defer a.close()
	if a.remote == nil {
		return inspect(ctx, a.pipeline, a.brokers), nil
	}
	var answer struct {
		Brokers []dashboard.Report `json:"brokers"`
	}
	err = a.remote.get(ctx, "/api/v1/doctor", &answer)
	return answer.Brokers, err
}

func (c *cli) table(reports []dashboard.Report) error {
	w := tabwriter.NewWriter(c.out, 0, 0, 2, ' ', 0)
	for _, r := range reports {
		state := "connected"
		if !r.Connected {
			state = "NOT CONNECTED"
		}
		as := ""
		if r.User != "" {
			as = " as " + r.User
		}
		fmt.Fprintf(w, "broker %s: %s at %s%s: %s\n", r.Broker, r.Driver, r.Address, as, state)
		if len(r.Subscriptions) > 0 {
			fmt.Fprintln(w, "  SUBSCRIPTION\tTOPIC\tREADY\tIN FLIGHT\tCONSUMERS\tBINDINGS")
		}
		for _, s := range r.Subscriptions {
			fmt.Fprintf(w, "  %s\t%s\t%s\t%s\t%s\t%s\n", s.Name, s.Topic, count(s.Ready), count(s.InFlight), count(int64(s.Consumers)), strings.Join(s.Bindings, ", "))
		}
		for _, s := range r.Subscriptions {
			for _, p := range s.Problems {
				fmt.Fprintf(w, "  ! %s: %s\n", s.Name, p)
			}
		}
		for _, note := range notes(r) {
			fmt.Fprintf(w, "  note: %s\n", note)
		}
		for _, p := range r.Problems {
			fmt.Fprintf(w, "  ! %s\n", p)
		}
	}
	return w.Flush()
}

// notes are those of all subscriptions, each once.
func notes(r dashboard.Report) []string {
	var all []string
	for _, s := range r.Subscriptions {
		for _, note := range s.Notes {
			if !slices.Contains(all, note) {
				all = append(all, note)
			}
		}
	}
	return all
}

func count(n int64) string {
	if n < 0 {
		return "?"
	}
	return strconv.FormatInt(n, 10)
}

// diagnosis is the exit code for what was found.
func diagnosis(reports []dashboard.Report) error {
	problems := 0
	for _, r := range reports {
		if !r.Connected {
			return exit(exitUnreachable, fmt.Errorf("broker %s at %s cannot be reached", r.Broker, r.Address))
		}
		problems += len(r.Problems)
		for _, s := range r.Subscriptions {
			problems += len(s.Problems)
		}
	}
	if problems > 0 {
		return exit(exitFailure, fmt.Errorf("%d problems", problems))
	}
	return nil
}
