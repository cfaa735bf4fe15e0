package app

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline"
)

func (c *cli) graphCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "graph",
		Short:   "Draw the pipeline",
		Long:    "Prints topics and handlers as a graph: for Markdown (mermaid) or for Graphviz (dot).",
		Example: "  waybill graph --config waybill.yaml\n  waybill graph --format dot | dot -Tsvg > pipeline.svg",
		Args:    cobra.NoArgs,
	}
	c.configFlags(cmd)
	format := cmd.Flags().String("format", "mermaid", "mermaid or dot")
	dead := cmd.Flags().Bool("dead-letters", false, "draw the dead-letter topics too")
	cmd.RunE = func(*cobra.Command, []string) error {
		draw := map[string]func(io.Writer, []edge) error{"mermaid": mermaid, "dot": dot}[*format]
		if draw == nil {
			return exit(exitUsage, fmt.Errorf("--format %q: want mermaid or dot", *format))
		}
		loaded, err := c.load()
		if err != nil {
			return err
		}
		return draw(c.out, edges(loaded.Pipeline, *dead))
	}
	return cmd
}

// edge leads from a topic to a handler or back.
type edge struct {
	topic, handler string
	kind           string // the handler's
	reads          bool   // topic → handler
	output         string // of the handler, for handler → topic
	dead           bool   // to a dead-letter topic
	draining       bool   // what is left of the topic on the broker that it moves away from
}

func edges(p pipeline.Pipeline, dead bool) []edge {
	var all []edge
	for _, h := range p.Handlers {
		all = append(all, edge{topic: h.From, handler: h.Name, kind: h.Kind, reads: true})
		if old := p.Topics[h.From].Draining; old != "" {
			all = append(all, edge{topic: h.From + " on " + old, handler: h.Name, kind: h.Kind, reads: true, draining: true})
		}
		outputs := make([]string, 0, len(h.To))
		for name := range h.To {
			outputs = append(outputs, name)
		}
		slices.Sort(outputs)
		for _, name := range outputs {
			all = append(all, edge{topic: h.To[name], handler: h.Name, kind: h.Kind, output: name})
		}
		if dead {
			all = append(all, edge{topic: h.DeadLetter, handler: h.Name, kind: h.Kind, dead: true})
		}
	}
	return all
}

func mermaid(w io.Writer, all []edge) error {
	ids := make(map[string]string)
	id := func(sort, name string) string {
		key := sort + name
		if ids[key] == "" {
			ids[key] = fmt.Sprintf("%s%d", sort, len(ids))
		}
		return ids[key]
	}
	var b strings.Builder
	b.WriteString("flowchart LR\n")
	for _, e := range all {
		topic := fmt.Sprintf("%s[(\"%s\")]", id("t", e.topic), e.topic)
		handler := fmt.Sprintf("%s[\"%s<br/><i>%s</i>\"]", id("h", e.handler), e.handler, e.kind)
		switch {
		case e.draining:
			fmt.Fprintf(&b, "  %s -. draining .-> %s\n", topic, handler)
		case e.reads:
			fmt.Fprintf(&b, "  %s --> %s\n", topic, handler)
		case e.dead:
			fmt.Fprintf(&b, "  %s -. dead .-> %s\n", handler, topic)
		case e.output != "":
			fmt.Fprintf(&b, "  %s -- %s --> %s\n", handler, e.output, topic)
		default:
			fmt.Fprintf(&b, "  %s --> %s\n", handler, topic)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func dot(w io.Writer, all []edge) error {
	var b strings.Builder
	b.WriteString("digraph waybill {\n  rankdir=LR;\n")
	drawn := make(map[string]bool)
	node := func(name, label, shape string) {
		if !drawn[name] {
			drawn[name] = true
			fmt.Fprintf(&b, "  %q [label=%q shape=%s];\n", name, label, shape)
		}
	}
	for _, e := range all {
		topic, handler := "topic "+e.topic, "handler "+e.handler
		node(topic, e.topic, "cylinder")
		node(handler, e.handler+"\n"+e.kind, "box")
		switch {
		case e.draining:
			fmt.Fprintf(&b, "  %q -> %q [style=dashed label=draining];\n", topic, handler)
		case e.reads:
			fmt.Fprintf(&b, "  %q -> %q;\n", topic, handler)
		case e.dead:
			fmt.Fprintf(&b, "  %q -> %q [style=dashed label=dead];\n", handler, topic)
		default:
			fmt.Fprintf(&b, "  %q -> %q [label=%q];\n", handler, topic, e.output)
		}
	}
	b.WriteString("}\n")
	_, err := io.WriteString(w, b.String())
	return err
}
