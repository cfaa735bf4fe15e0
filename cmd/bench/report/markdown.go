package report

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// WriteMarkdown writes table and targets for the documents. about is one
// paragraph on how they came to be.
func WriteMarkdown(file, about string, lines []Line, targets []Target) error {
	if err := os.MkdirAll(filepath.Dir(file), 0o750); err != nil {
		return err
	}
	return os.WriteFile(file, []byte(Markdown(about, lines, targets)), 0o600)
}

// Markdown is what WriteMarkdown writes.
func Markdown(about string, lines []Line, targets []Target) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Figures\n\n<!-- Written by make bench. Do not edit. -->\n\n%s\n\n", about)
	b.WriteString("Medians, with least and most in parentheses; ratios are of a round. CPU is ms for 1,000 messages.\n\n")
	b.WriteString("| broker | variant | | msg/s | ÷ raw | client CPU | ÷ raw | broker CPU | RSS MB | p50 ms | ÷ raw | p99 | p99.9 | runs |\n")
	b.WriteString("|---|---|---|---|---|---|---|---|---|---|---|---|---|---|\n")
	for _, l := range lines {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %s | %d%s |\n", l.Broker, l.Variant, l.Impl,
			l.Rate.text(0), l.RateRatio.text(2), l.ClientCPU.text(1), l.CPURatio.text(2), l.BrokerCPU.text(1), l.RSS.text(0),
			l.P50.text(2), l.P50Ratio.text(2), l.P99.text(1), l.P999.text(1), l.Runs, unordered(l))
	}
	b.WriteString("\n## Targets\n\n| | wanted | measured | |\n|---|---|---|---|\n")
	for _, t := range targets {
		met := "**missed**"
		switch {
		case t.Measured == Spread{}:
			met = "not measured"
		case t.Met:
			met = "met"
		}
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", t.Name, t.Want, t.Measured.text(2), met)
	}
	return b.String()
}
