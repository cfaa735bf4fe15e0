package place

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/waybill-dev/waybill/cmd/bench/job"
)

// handler is the name of the handler in Waybill's config.
const handler = "work"

// installation is a Waybill with a config and a folder.
type installation struct {
	binary, dir, config string
}

// install writes the config. It is what the kill test proves the promises
// with, without that test's throttle: order per key, 64 handlers at a time,
// and all defaults. broker is YAML, and so is what topic says of a topic.
func install(l Layout, broker string, topic func(name string) string, in, out string) (*installation, error) {
	log := "off"
	if l.Impl == job.WaybillLog {
		log = "all"
	}
	text := fmt.Sprintf(`http: {listen: "off"}
message_log: {mode: %s}
brokers:
  main: {%s}
topics:
  %s: {broker: main, key: %s%s}
  %s: {broker: main, key: %s%s}
handlers:
  %s:
    kind: prepare_order
    from: %s
    to: %s
    ordering: %s
    concurrency: %d
    in_flight: %d
    with: %s
`, log, broker, in, job.KeyPointer, topic(in), out, job.KeyPointer, topic(out), handler, in, out, l.Ordering, l.Concurrency, l.InFlight, job.Rules)
	i := &installation{binary: l.Waybill, dir: l.Dir, config: filepath.Join(l.Dir, "waybill.yaml")}
	return i, os.WriteFile(i.config, []byte(text), 0o600)
}

// plain is a topic of which there is nothing to say.
func plain(string) string { return "" }

// publish publishes lines to a topic with the command, which makes all
// topics, queues and subscriptions of the config first.
func (i *installation) publish(ctx context.Context, topic string, lines io.Reader) error {
	cmd := exec.CommandContext(ctx, i.binary, "publish", topic, "--config", i.config, "--lines", "-")
	cmd.Dir, cmd.Stdin = i.dir, lines
	var errs bytes.Buffer
	cmd.Stderr = &errs
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("waybill publish: %w: %s", err, errs.Bytes())
	}
	return nil
}

// provision makes the topology and publishes nothing.
func (i *installation) provision(ctx context.Context, topic string) error {
	return i.publish(ctx, topic, bytes.NewReader(nil))
}
