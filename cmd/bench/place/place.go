package place

import (
	"context"
	"fmt"
	"slices"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// Broker is a running broker.
type Broker interface {
	// PID is the broker's process on this machine, 0 where there is none.
	PID() int
	// Open makes a site. Drop must be called also if Open fails later on.
	Open(ctx context.Context, l Layout) (Site, error)
	// Close ends what was started for the benchmark.
	Close() error
}

// Site is one input and one output. It is used by one goroutine.
type Site interface {
	// Spec tells a client where to work.
	Spec() job.Spec
	// Load fills the input with the orders 0 to n-1, confirmed.
	Load(ctx context.Context, orders job.Orders, n int) error
	// Depth is how many outputs there are.
	Depth(ctx context.Context) (int, error)
	// Left is how many orders are not acknowledged. It counts those that a
	// client has taken only once that client has gone.
	Left(ctx context.Context) (int, error)
	// Outputs shows the payloads of the first n outputs, in the order of their
	// queue or partition.
	Outputs(ctx context.Context, n int, see func(payload []byte)) error
	// Drop removes all that was made.
	Drop(ctx context.Context) error
}

// Live is a Site that messages can be sent to one by one, for latency.
type Live interface {
	Site
	// Send publishes an order without waiting for its confirm.
	Send(ctx context.Context, seq int, key string, payload []byte) error
	// Watch calls see with every output from now on until ctx ends.
	Watch(ctx context.Context, see func(payload []byte)) error
}

// Layout is what a drain needs.
type Layout struct {
	Impl        string
	Variant     string // one of Variants
	InFlight    int    // of each client
	Concurrency int    // Waybill: handlers at a time
	Ordering    string // Waybill: key or none
	Partitions  int    // Kafka; RabbitMQ: queues of an ordered subscription; 0: the variant's
	Envelope    bool   // see job.Spec
	Dir         string // an empty folder for files of the site
	Waybill     string // the waybill binary
}

// Variants are what is measured of each broker.
var Variants = map[string][]string{
	job.RabbitMQ: {"classic", "quorum"},
	job.Kafka:    {"1 partition", "4 partitions", "16 partitions"},
	job.Embedded: {"file"},
}

// Impls are the implementations that there are for each broker. Of embedded
// brokers, Watermill's are either not durable or not to be had (see
// docs/performance.md).
var Impls = map[string][]string{
	job.RabbitMQ: {job.Raw, job.Stock, job.StockTuned, job.Waybill, job.WaybillLog},
	job.Kafka:    {job.Raw, job.Stock, job.StockTuned, job.Waybill, job.WaybillLog},
	job.Embedded: {job.Raw, job.Waybill, job.WaybillLog},
}

// Start starts the broker of that name, or connects to the one at url where
// that is not "". dir is an empty folder for its files, node the script that
// starts servers.
func Start(ctx context.Context, name, url, dir, node string) (Broker, error) {
	switch name {
	case job.RabbitMQ:
		return startRabbit(ctx, url, dir, node)
	case job.Kafka:
		return startKafka(ctx, url, dir, node)
	case job.Embedded:
		return embedded{}, nil
	}
	return nil, fmt.Errorf("there is no broker %q: want one of %v", name, names())
}

func names() []string {
	var all []string
	for name := range Variants {
		all = append(all, name)
	}
	slices.Sort(all)
	return all
}
