package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/waybill-dev/waybill/cmd/bench/job"
	"github.com/waybill-dev/waybill/cmd/bench/place"
)

// options are the command line.
type options struct {
	brokers, variants, impls list
	n, rounds                int
	orders                   job.Orders
	inFlight, concurrency    int
	partitions, instances    int
	ordering                 string
	envelope                 bool // set by the sweep
	sweep                    string
	latency                  bool

	servers, dir, node, waybill string
	profile                     string
	out                         string
}

// list is a flag of names with commas between.
type list []string

func (l *list) String() string { return strings.Join(*l, ",") }

func (l *list) Set(text string) error {
	*l = nil
	for name := range strings.SplitSeq(text, ",") {
		if name = strings.TrimSpace(name); name != "" {
			*l = append(*l, name)
		}
	}
	return nil
}

const usage = `Bench measures Waybill against the bare client and the published Watermill adapters, doing the same job in turn.

Usage: go run ./cmd/bench [flags]

  go run ./cmd/bench                                             everything, 5 rounds (about an hour)
  go run ./cmd/bench -broker kafka -n 100000                     one broker
  go run ./cmd/bench -broker rabbitmq -variant quorum -impl raw,waybill -rounds 3 -latency=false
  go run ./cmd/bench -broker embedded -sweep payload             how the cost grows with 0.1, 1, 10 and 100 KB

It starts servers of its own with deploy/local/node and removes all that it made, also at Ctrl-C. Build Waybill first
(make build). Progress goes to stderr, the table to stdout, the medians to -out.

`

func parse(args []string, w io.Writer) (options, error) {
	o := options{brokers: list{job.RabbitMQ, job.Kafka, job.Embedded}}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(w)
	f.Usage = func() {
		fmt.Fprint(w, usage)
		f.PrintDefaults()
	}
	f.Var(&o.brokers, "broker", "brokers to measure")
	f.Var(&o.variants, "variant", "variants of the brokers, for example classic, or 4 partitions (default all)")
	f.Var(&o.impls, "impl", "raw, stock, stock-tuned, waybill, waybill-log (default all)")
	f.IntVar(&o.n, "n", 0, "orders a drain; slow implementations get a tenth (default 40000 on RabbitMQ, 100000 elsewhere)")
	f.IntVar(&o.rounds, "rounds", 5, "how often each is run, in turn")
	f.IntVar(&o.orders.Keys, "keys", 10_000, "keys that the orders are spread over")
	f.IntVar(&o.orders.Size, "size", job.DefaultSize, "bytes of an order")
	f.IntVar(&o.inFlight, "inflight", 512, "messages that a client has taken and not acknowledged; on Kafka: of each partition")
	f.IntVar(&o.concurrency, "concurrency", 64, "Waybill: handlers at a time")
	f.StringVar(&o.ordering, "ordering", "key", "Waybill: key or none")
	f.IntVar(&o.partitions, "partitions", 0, "Kafka: of the topics, instead of the variant's; RabbitMQ: Waybill's queues")
	f.IntVar(&o.instances, "instances", 1, "client processes that share the work")
	f.StringVar(&o.sweep, "sweep", "", "run it for each value of: "+strings.Join(sweepNames(), ", "))
	f.BoolVar(&o.latency, "latency", true, "measure latency at 1,000 messages a second, too")
	f.StringVar(&o.servers, "servers", "private", "private: start servers; env: use RABBITMQ_URL and KAFKA_BROKERS")
	f.StringVar(&o.dir, "dir", ".local", "folder for the servers' files and the embedded broker's; on the disk to be measured")
	f.StringVar(&o.node, "node", "deploy/local/node", "script that starts a server")
	f.StringVar(&o.waybill, "waybill", "bin/waybill", "the waybill binary")
	f.StringVar(&o.profile, "profile", "", "profile Waybill instead of measuring it: the folder for the profiles; see make profile")
	f.StringVar(&o.out, "out", "docs/bench/results.json", "where the medians go, with table.md and ratios.svg beside it; \"\": nowhere, as by default with -sweep")
	if err := f.Parse(args); err != nil {
		return o, err
	}
	if o.sweep != "" && !given(f, "out") {
		o.out = "" // a sweep is no run of the results
	}
	if o.profile != "" {
		o.impls, o.rounds, o.latency, o.out = list{job.Waybill}, 1, false, ""
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unknown argument %q", f.Arg(0))
	}
	return o, o.check()
}

func given(f *flag.FlagSet, name string) (yes bool) {
	f.Visit(func(used *flag.Flag) { yes = yes || used.Name == name })
	return yes
}

func (o options) check() error {
	var errs []error
	want := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, b := range o.brokers {
		want(place.Variants[b] != nil, "-broker %s: want rabbitmq, kafka or embedded", b)
	}
	for _, i := range o.impls {
		want(slices.Contains(place.Impls[job.RabbitMQ], i), "-impl %s: want raw, stock, stock-tuned, waybill or waybill-log", i)
	}
	want(len(o.brokers) > 0, "-broker: name one")
	want(o.rounds > 0, "-rounds %d: want at least 1", o.rounds)
	want(o.n >= 0 && (o.n == 0 || o.n >= least), "-n %d: want at least %d", o.n, least)
	want(o.orders.Keys > 0, "-keys %d: want at least 1", o.orders.Keys)
	want(o.inFlight > 0 && o.concurrency > 0 && o.instances > 0, "-inflight, -concurrency and -instances: want at least 1")
	want(o.ordering == "key" || o.ordering == "none", "-ordering %s: want key or none", o.ordering)
	want(o.servers == "private" || o.servers == "env", "-servers %s: want private or env", o.servers)
	want(o.sweep == "" || sweeps[o.sweep] != nil, "-sweep %s: want one of %s", o.sweep, strings.Join(sweepNames(), ", "))
	return errors.Join(errs...)
}
