package report

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// Table prints lines for people: the median and, in parentheses, least and
// most.
func Table(w io.Writer, lines []Line) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "BROKER\tVARIANT\tIMPL\tMSG/S\t÷ RAW\tCLIENT CPU ms/1000\t÷ RAW\tBROKER CPU\tRSS MB\tp50 ms\t÷ RAW\tp99\tp99.9\tRUNS\t")
	broker := ""
	for _, l := range lines {
		if broker != "" && broker != l.Broker+l.Variant {
			fmt.Fprintln(t, "\t\t\t\t\t\t\t\t\t\t\t\t\t\t")
		}
		broker = l.Broker + l.Variant
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d%s\t\n", l.Broker, l.Variant, l.Impl,
			l.Rate.text(0), l.RateRatio.text(2), l.ClientCPU.text(1), l.CPURatio.text(2), l.BrokerCPU.text(1), l.RSS.text(0),
			l.P50.text(2), l.P50Ratio.text(2), l.P99.text(1), l.P999.text(1), l.Runs, unordered(l))
	}
	return t.Flush()
}

func unordered(l Line) string {
	if l.Disorders == 0 {
		return ""
	}
	return fmt.Sprintf(", %d out of order", l.Disorders)
}

func (s Spread) text(digits int) string {
	switch {
	case s == Spread{}:
		return "-"
	case s.Min == s.Max:
		return fmt.Sprintf("%.*f", digits, s.Median)
	}
	return fmt.Sprintf("%.*f (%.*f-%.*f)", digits, s.Median, digits, s.Min, digits, s.Max)
}
