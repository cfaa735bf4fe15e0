package app

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
)

// reachTimeout is how long a command waits for a broker that it opens itself.
const reachTimeout = 10 * time.Second

// serverFlags adds the flags of a command that can go through a running
// Waybill instead of reading a config file.
func (c *cli) serverFlags(cmd *cobra.Command) {
	c.configFlags(cmd)
	cmd.Flags().StringVar(&c.server, "server", "", "URL of a running waybill, instead of --config")
	cmd.Flags().StringVar(&c.token, "token-file", "", "file with the bearer token for --server")
	cmd.MarkFlagsMutuallyExclusive("config", "server")
}

// access is how a command reaches topics: through a running Waybill, or, if
// none runs on the config's data folder, by opening the brokers itself.
type access struct {
	remote   *client // nil: on its own
	pipeline pipeline.Pipeline
	brokers  map[string]broker.Broker
}

// reach opens what the command needs: only the broker of topic, or all where
// topic is "".
func (c *cli) reach(topic string) (*access, error) {
	var p pipeline.Pipeline
	if c.server == "" {
		loaded, err := c.load()
		if err != nil {
			return nil, err
		}
		p = loaded.Pipeline
	}
	remote, err := c.remote(p)
	if err != nil || remote != nil {
		return &access{remote: remote, pipeline: p}, err
	}
	return c.open(p, topic)
}

// open opens brokers for a command that finds no running Waybill.
func (c *cli) open(p pipeline.Pipeline, topic string) (*access, error) {
	log, err := c.quiet()
	if err != nil {
		return nil, err
	}
	names := p.Brokers
	if topic != "" {
		t, ok := p.Topics[topic]
		if !ok {
			return nil, exit(exitNotFound, fmt.Errorf("topic %q is not in %s: `waybill echo` lists the topics", topic, c.config))
		}
		names = map[string]pipeline.Broker{t.Broker: p.Brokers[t.Broker]}
	}
	if err := makeData(p); err != nil {
		return nil, exit(exitFailure, err)
	}
	if p.Instance, err = instanceID(p); err != nil {
		return nil, exit(exitFailure, err)
	}
	a := &access{pipeline: p, brokers: make(map[string]broker.Broker)}
	for name := range names {
		b, err := openBroker(p, name, log)
		if err != nil {
			a.close()
			return nil, exit(exitFailure, err)
		}
		a.brokers[name] = b
	}
	return a, nil
}

// ready provisions the broker of a topic, so that what is published finds its
// subscriptions.
func (a *access) ready(ctx context.Context, topic pipeline.Topic) (broker.Broker, error) {
	ctx, cancel := context.WithTimeout(ctx, reachTimeout)
	defer cancel()
	b := a.brokers[topic.Broker]
	topics, subs := broker.Holdings(a.pipeline, topic.Broker)
	if err := b.Provision(ctx, topics, subs); err != nil {
		code := exitFailure
		if r := pipeline.ReasonOf(err); r == pipeline.ReasonUnavailable || r == pipeline.ReasonTimeout {
			code = exitUnreachable
		}
		return nil, exit(code, fmt.Errorf("broker %s: %w", topic.Broker, err))
	}
	return b, nil
}

func (a *access) close() {
	if a.remote != nil {
		a.remote.close()
	}
	_ = closeBrokers(a.brokers) // the command's own work is done or has its error
}
