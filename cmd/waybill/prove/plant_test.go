package prove

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/google/uuid"
	"github.com/stretchr/testify/require"

	"github.com/waybill-dev/waybill/cmd/waybill/scratch"
	"github.com/waybill-dev/waybill/handlers"
	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/routerconfig"
)

// place is a broker to run on.
type place struct {
	driver string
	url    string
	disk   string                                              // folder of a plant that its data folder is in; "": the plant's own
	read   func(t *testing.T, p *plant, topic string) [][]byte // all payloads of a topic, in order
	feed   func(t *testing.T, p *plant, payloads [][]byte)     // into the plant's input
}

// places are the brokers of this run. A server that should be there and is
// not is a failure, not a skip.
func places(t *testing.T) []place {
	t.Helper()
	all := []place{{driver: "embedded", read: readByTail, feed: feedByCommand}}
	if testing.Short() {
		return all
	}
	return append(all,
		place{driver: "rabbitmq", url: env(t, "RABBITMQ_URL"), read: readRabbit, feed: feedByCommand},
		place{driver: "kafka", url: env(t, "KAFKA_BROKERS"), read: readKafka, feed: feedByCommand},
	)
}

func env(t *testing.T, name string) string {
	t.Helper()
	value := os.Getenv(name)
	require.NotEmptyf(t, value, "%s is not set: run `make brokers`, or use -short", name)
	return value
}

// plant is one pipeline in a folder of its own, on topics of its own.
type plant struct {
	place
	build  func() (string, error) // the program
	dir    string
	config string
	in     string
	out    string
}

// pipe is what a plant's handler does.
type pipe struct {
	kind        string
	with        string // YAML flow mapping
	ordering    string
	concurrency int
	perSecond   int
	partitions  int
}

// inFlight is what the benchmark has: the default, on Kafka for each partition.
func (h pipe) inFlight(at place) int {
	n := 8 * h.concurrency
	if at.driver == pipeline.DriverKafka {
		n *= h.partitions
	}
	return n
}

func newPlant(t *testing.T, at place, h pipe) *plant {
	t.Helper()
	id := strings.ReplaceAll(uuid.NewString()[:8], "-", "")
	p := &plant{place: at, build: build, dir: t.TempDir(), in: "in-" + id, out: "out-" + id}
	p.config = filepath.Join(p.dir, "waybill.yaml")
	broker := fmt.Sprintf("{driver: %s}", at.driver)
	if at.url != "" {
		broker = fmt.Sprintf("{driver: %s, url: %q}", at.driver, at.url)
	}
	text := fmt.Sprintf(`
data: %s
http: {listen: "off"}
brokers:
  main: %s
topics:
  %s: {broker: main, key: /customer, partitions: %d}
  %s: {broker: main, key: /customer, partitions: %d}
handlers:
  work:
    kind: %s
    from: %s
    to: %s
    ordering: %s
    concurrency: %d
    in_flight: %d
    throttle: {per_second: %d, burst: 64}
    with: %s
`, p.data(), broker, p.in, h.partitions, p.out, h.partitions, h.kind, p.in, p.out, h.ordering, h.concurrency, h.inFlight(at), h.perSecond, h.with)
	require.NoError(t, os.WriteFile(p.config, []byte(text), 0o600))
	t.Cleanup(func() { p.clear(t) })
	return p
}

// clear removes what the plant has made on servers: a thousand queues that
// nobody reads slow down all proofs after it.
func (p *plant) clear(t *testing.T) {
	deadly := pipeline.Kind{ // only its topics matter here
		Name:      "deadly",
		NewConfig: func() any { return &struct{ Deaths string }{} },
		New:       func(pipeline.Env, any) (message.HandlerFunc, error) { return nil, errors.ErrUnsupported },
	}
	loaded, err := routerconfig.Load(p.config, routerconfig.Options{Kinds: handlers.Builtin().With(deadly)})
	if err == nil {
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		err = scratch.RemoveAll(ctx, loaded.Pipeline)
	}
	if err != nil {
		t.Logf("not all is removed: %v", err) // a server of the test's own is gone, say
	}
}

// edit changes the config before the first start: for another store, say.
func (p *plant) edit(t *testing.T, before, after string) {
	t.Helper()
	text, err := os.ReadFile(p.config)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), before))
	require.NoError(t, os.WriteFile(p.config, []byte(strings.Replace(string(text), before, after, 1)), 0o600))
}

// data is the data folder, from the plant's own.
func (p *plant) data() string { return filepath.Join(p.disk, "data") }

// prepare is the kind of the proofs of loss and order.
func prepare(perSecond int) pipe {
	return pipe{
		kind: "prepare_order", ordering: "key", concurrency: 64, perSecond: perSecond, partitions: 4,
		with: `{split: {rules: [{when: 'line.type == "frame"', per_unit: true}]}, stages: {default: [pick, pack]}}`,
	}
}

// feedByCommand publishes while no process runs.
func feedByCommand(t *testing.T, p *plant, payloads [][]byte) {
	t.Helper()
	out, code := p.command(t, append(bytes.Join(payloads, []byte("\n")), '\n'), "publish", p.in, "--config", p.config, "--lines", "-")
	require.Zero(t, code)
	require.Equal(t, len(payloads), strings.Count(out, "\n"), "an id a line")
}

// verdict reads everything and compares.
func (p *plant) verdict(t *testing.T, l *ledger, offered []order) {
	t.Helper()
	check(l, offered, records(t, p.read(t, p, p.out)), records(t, p.buried(t)))
}

func records(t *testing.T, payloads [][]byte) []record {
	t.Helper()
	all := make([]record, len(payloads))
	for i, payload := range payloads {
		all[i] = decode(t, payload)
	}
	return all
}

var begin = time.Now
