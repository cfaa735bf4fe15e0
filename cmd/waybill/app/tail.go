package app

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/ThreeDotsLabs/watermill/message"
	"github.com/go-json-experiment/json"
	"github.com/spf13/cobra"

	"github.com/waybill-dev/waybill/pipeline"
	"github.com/waybill-dev/waybill/pipeline/broker"
	"github.com/waybill-dev/waybill/pipeline/dashboard"
)

type tailCommand struct {
	*cli
	n       int
	from    string
	timeout time.Duration
	json    bool
}

func (c *cli) tailCommand() *cobra.Command {
	t := &tailCommand{cli: c}
	cmd := &cobra.Command{
		Use:   "tail TOPIC",
		Short: "Watch a topic",
		Long: "Prints the payloads of a topic's messages, a newline after each. No consumer is disturbed.\n" +
			"Exits with 1 if fewer than -n came within --timeout. A dead-letter topic on RabbitMQ has only what is not\n" +
			"archived yet: see waybill dlq.",
		Example: "  waybill tail prepared-orders\n" +
			"  waybill tail orders-in.prepare.dlq --from oldest -n 10 --json --timeout 5s",
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error { return t.run(cmd.Context(), args[0]) },
	}
	c.serverFlags(cmd)
	cmd.Flags().IntVarP(&t.n, "number", "n", 0, "stop after so many messages; 0: go on until Ctrl-C or --timeout")
	cmd.Flags().StringVar(&t.from, "from", "newest", "oldest: begin with the oldest message that is there; newest: only new ones")
	cmd.Flags().DurationVar(&t.timeout, "timeout", 0, "stop after this long; 0: never")
	cmd.Flags().BoolVar(&t.json, "json", false, "print a JSON object a line, with id, key and metadata")
	return cmd
}

// errEnough ends a tail that has shown all it was asked for.
var errEnough = errors.New("enough")

func (t *tailCommand) run(ctx context.Context, topic string) error {
	if t.from != "oldest" && t.from != "newest" {
		return exit(exitUsage, fmt.Errorf("--from %q: want oldest or newest", t.from))
	}
	interrupted := ctx
	if t.timeout > 0 {
		timed, cancel := context.WithTimeout(ctx, t.timeout)
		defer cancel()
		ctx = timed
	}
	a, err := t.reach(topic)
	if err != nil {
		return err
	}
	defer a.close()
	t.hint(a, topic)
	shown := 0
	show := func(m dashboard.Message) error {
		if err := t.print(m); err != nil {
			return err
		}
		if shown++; shown == t.n {
			return errEnough
		}
		return nil
	}
	if a.remote != nil {
		err = t.watchRemote(ctx, a.remote, topic, show)
	} else {
		err = t.watch(ctx, a, topic, show)
	}
	return t.verdict(interrupted, ctx, err, shown)
}

// hint says where dead letters are that the topic has no more: on RabbitMQ
// they move to the store. With --server the config is not known here.
func (t *tailCommand) hint(a *access, name string) {
	topic := a.pipeline.Topics[name]
	if topic.DeadLetter && a.pipeline.Brokers[topic.Broker].Driver == pipeline.DriverRabbitMQ {
		fmt.Fprintf(t.err, "%s has only what is not archived yet; waybill dlq ls lists all dead letters\n", name)
	}
}

// verdict is what the command ends with.
func (t *tailCommand) verdict(interrupted, ctx context.Context, err error, shown int) error {
	var coded *exitError
	switch {
	case errors.Is(err, errEnough):
		return nil
	case interrupted.Err() != nil:
		fmt.Fprintf(t.err, "stopped; messages shown: %d\n", shown)
		return nil
	case errors.As(err, &coded):
		return coded
	case ctx.Err() != nil:
		if shown < t.n {
			return exit(exitFailure, fmt.Errorf("%d of %d messages came within %s", shown, t.n, t.timeout))
		}
		return nil
	case err != nil:
		return exit(codeOfReason(err), err)
	case shown < t.n:
		return exit(exitFailure, fmt.Errorf("%d of %d messages were there", shown, t.n))
	}
	return nil
}

// print writes one message.
func (t *tailCommand) print(m dashboard.Message) error {
	line := m.Bytes()
	if t.json {
		var err error
		if line, err = json.Marshal(m, json.Deterministic(true)); err != nil {
			return err
		}
	}
	_, err := t.out.Write(append(line, '\n'))
	return err
}

// follow: with --timeout or no -n, the oldest messages are followed by new
// ones; with -n alone what is there must do.
func (t *tailCommand) follow() bool { return t.n == 0 || t.timeout > 0 }

func (t *tailCommand) watch(ctx context.Context, a *access, name string, show func(dashboard.Message) error) error {
	topic := a.pipeline.Topics[name]
	b, err := a.ready(ctx, topic)
	if err != nil {
		return err
	}
	return b.Tail(ctx, topic, broker.TailOptions{Oldest: t.from == "oldest", Follow: t.follow(), Ready: t.announce(name)},
		func(msg *message.Message) error { return show(dashboard.NewMessage(topic, msg)) })
}

// announce says, beside the output, from when on nothing is missed.
func (t *tailCommand) announce(topic string) func() {
	return func() {
		if t.from == "newest" {
			fmt.Fprintf(t.err, "watching %s\n", topic)
		}
	}
}

func (t *tailCommand) watchRemote(ctx context.Context, cl *client, topic string, show func(dashboard.Message) error) error {
	query := url.Values{"from": {t.from}}
	if t.follow() {
		query.Set("follow", "true")
	}
	res, err := cl.do(ctx, http.MethodGet, "/api/v1/topics/"+url.PathEscape(topic)+"/messages?"+query.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	t.announce(topic)()
	for line, err := range lines(bufio.NewReader(res.Body)) {
		if err != nil {
			return fmt.Errorf("read from waybill: %w", errors.Join(err, ctx.Err()))
		}
		var m dashboard.Message
		if err := json.Unmarshal(line, &m); err != nil {
			return fmt.Errorf("read from waybill: %w", err)
		}
		if err := show(m); err != nil {
			return err
		}
	}
	return nil
}

// codeOfReason is the exit code for an error of a broker.
func codeOfReason(err error) int {
	var coded *exitError
	if errors.As(err, &coded) {
		return coded.code
	}
	switch pipeline.ReasonOf(err) {
	case pipeline.ReasonUnavailable, pipeline.ReasonTimeout:
		return exitUnreachable
	case pipeline.ReasonUnroutable:
		return exitNotFound
	default:
		return exitFailure
	}
}
