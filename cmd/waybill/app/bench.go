package app

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
)

type benchCommand struct {
	*cli
	handler string
	topic   string
	n       int
	size    int
	keys    int
	rate    int
	seconds int
	payload string
	output  string
}

func (c *cli) benchCommand() *cobra.Command {
	b := &benchCommand{cli: c}
	cmd := &cobra.Command{
		Use:   "bench",
		Short: "Measure your own broker with your own config",
		Long: "Makes a scratch topic, fills it, drains it through one handler and prints how fast that was, then sends at a fixed\n" +
			"rate and prints how long a message takes. With --handler it runs with that handler's kind and settings, with --topic\n" +
			"messages are passed on as they are. Kinds that act on the world outside are replaced by passing on.\n" +
			"Your own topics and subscriptions are never touched, and all that was made is removed, also at Ctrl-C.",
		Example: "  waybill bench --config waybill.yaml --handler prepare\n" +
			"  waybill bench --topic orders-in -n 100000 --size 10000\n" +
			"  waybill bench --handler prepare --payload order.json --set handlers.prepare.in_flight=1024\n" +
			"  waybill bench --handler prepare --output json",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return b.run(cmd.Context()) },
	}
	c.configFlags(cmd)
	f := cmd.Flags()
	f.StringVar(&b.handler, "handler", "", "run with this handler's kind and settings")
	f.StringVar(&b.topic, "topic", "", "pass messages on, on this topic's broker and with its settings")
	f.IntVarP(&b.n, "number", "n", 20_000, "messages to drain")
	f.IntVar(&b.size, "size", 1_000, "bytes of a message; at least 150")
	f.IntVar(&b.keys, "keys", 10_000, "keys that messages are spread over")
	f.IntVar(&b.rate, "rate", 1_000, "messages a second when latency is measured; 0: do not measure it")
	f.IntVar(&b.seconds, "seconds", 5, "how long latency is measured")
	f.StringVar(&b.payload, "payload", "", "file with the message to send, instead of an order made up")
	f.StringVarP(&b.output, "output", "o", "table", "table or json")
	cmd.MarkFlagsMutuallyExclusive("handler", "topic")
	cmd.MarkFlagsOneRequired("handler", "topic")
	return cmd
}

func (b *benchCommand) check() error {
	switch {
	case b.output != "table" && b.output != "json":
		return fmt.Errorf("--output %q: want table or json", b.output)
	case b.n < 100:
		return fmt.Errorf("--number %d: want at least 100", b.n)
	case b.size < minBenchSize || b.keys < 1 || b.rate < 0 || b.seconds < 1:
		return fmt.Errorf("--size wants at least %d, --keys and --seconds at least 1, --rate at least 0", minBenchSize)
	}
	return nil
}

func (b *benchCommand) run(ctx context.Context) error {
	if err := b.check(); err != nil {
		return exit(exitUsage, err)
	}
	b.interrupts.graceful() // what was made must be removed
	log, err := b.quiet()
	if err != nil {
		return err
	}
	loaded, err := b.load()
	if err != nil {
		return err
	}
	messages, err := b.messages()
	if err != nil {
		return err
	}
	opts := b.opts
	opts.Log = log
	bench, err := newBench(loaded.Pipeline, opts, b.handler, b.topic)
	if err != nil {
		return err
	}
	result, err := bench.measure(ctx, b, messages)
	if err = errors.Join(err, bench.close(context.WithoutCancel(ctx))); err != nil {
		return exit(codeOfReason(err), err)
	}
	return b.print(result)
}

func (b *benchCommand) messages() (benchMessages, error) {
	m := benchMessages{size: b.size, keys: b.keys}
	if b.payload == "" {
		return m, nil
	}
	var err error
	if m.payload, err = os.ReadFile(b.payload); err != nil {
		return m, exit(exitFailure, fmt.Errorf("read --payload: %w", err))
	}
	return m, nil
}

// benchResult is what `bench` prints.
type benchResult struct {
	Broker      string  `json:"broker"`
	Driver      string  `json:"driver"`
	Handler     string  `json:"handler"` // "" where messages were passed on
	Kind        string  `json:"kind"`
	Ordering    string  `json:"ordering"`
	Concurrency int     `json:"concurrency"`
	InFlight    int     `json:"in_flight"`
	Messages    int     `json:"messages"`
	Bytes       int     `json:"bytes"` // of a message
	PublishRate float64 `json:"publish_msgs_per_s"`
	Rate        float64 `json:"msgs_per_s"`
	CPU         float64 `json:"cpu_ms_per_1000"` // of this process, while it drained; 0: not known on this system
	LatencyRate int     `json:"latency_rate"`    // messages a second; 0: latency was not measured
	P50         float64 `json:"p50_ms"`
	P99         float64 `json:"p99_ms"`
}

func (b *benchCommand) print(r benchResult) error {
	if b.output == "json" {
		text, err := json.Marshal(r, jsontext.WithIndent("  "))
		if err != nil {
			return err
		}
		_, err = b.out.Write(append(text, '\n'))
		return err
	}
	fmt.Fprintf(b.out, "broker %s (%s), kind %s, ordering %s, concurrency %d, in flight %d\n", r.Broker, r.Driver, r.Kind, r.Ordering, r.Concurrency, r.InFlight)
	fmt.Fprintf(b.out, "  publish  %.0f msg/s (%d messages of %d bytes)\n", r.PublishRate, r.Messages, r.Bytes)
	cpu := "CPU not known on this system"
	if r.CPU > 0 {
		cpu = fmt.Sprintf("CPU %.1f ms per 1,000", r.CPU)
	}
	fmt.Fprintf(b.out, "  drain    %.0f msg/s, %s\n", r.Rate, cpu)
	if r.LatencyRate > 0 {
		fmt.Fprintf(b.out, "  latency  p50 %.2f ms, p99 %.2f ms at %d msg/s, from when a message is due until its output is read\n", r.P50, r.P99, r.LatencyRate)
	}
	return nil
}

// benchPatience is how long nothing may move before a measurement is given up.
const benchPatience = 30 * time.Second
